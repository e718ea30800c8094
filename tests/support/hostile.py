"""Files that are wrong, damaged or hostile, written into a folder."""

import shutil
import struct

import numpy as np
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint

rng = np.random.default_rng(0)


class Hostile:
    """Unpickled, it would leave a file."""

    def __reduce__(self):
        return exec, ("open('hacked', 'w')",)


def picture(path, size=(4, 4), mode="L"):
    """Write a black picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def write_images(root):
    """Arrays, archives and folders of pictures."""
    grey = rng.integers(256, size=(20, 4, 4), dtype=np.uint8)
    floats = rng.random((20, 4, 4))
    spoilt = {"nan": np.nan, "infinite": np.inf, "negative": -0.1, "bright": 255.0}
    for name, value in spoilt.items():
        np.save(root / name, np.where(np.arange(4) == 1, value, floats))
    np.save(root / "grey", grey)
    np.save(root / "floats", floats)
    np.save(root / "one", grey[:1])
    np.save(root / "two", grey[:2])
    np.save(root / "empty", grey[:0])
    np.save(root / "flat", grey.reshape(20, 16))
    np.save(root / "deep", grey.reshape(5, 4, 1, 4, 4))
    np.save(root / "int64", grey.astype(np.int64))
    np.save(root / "text", grey.astype(str))
    np.save(root / "complex", grey.astype(complex))
    np.save(root / "objects", np.array([grey, Hostile()], dtype=object), allow_pickle=True)
    np.savez(root / "pickled", images=np.array([Hostile()], dtype=object))
    np.savez(root / "nameless", a=grey, b=grey)
    np.savez(root / "labels", images=grey, labels=np.arange(7))
    np.savez(root / "factors", images=grey, factors=np.full((20, 2), np.nan))
    np.savez(root / "sizes", train_images=grey, test_images=grey[:, :3])
    np.savez(root / "sound", images=grey)
    (root / "truncated.npz").write_bytes((root / "sound.npz").read_bytes()[:-40])
    (root / "truncated.npy").write_bytes((root / "grey.npy").read_bytes()[:-40])
    (root / "garbage.npy").write_bytes(b"garbage" * 99)
    (root / "huge.npy").write_bytes(
        (root / "grey.npy").read_bytes().replace(b"(20, 4, 4)", b"(2000000000000, 4, 4)")
    )
    (root / "images.csv").write_text("0,1\n")
    (root / "nothing").mkdir()
    (root / "notes").mkdir()
    (root / "notes" / "README.txt").write_text("no pictures here")
    for k in range(3):
        picture(root / "mixed" / f"{k}.png", (4, 4 + k // 2))
        picture(root / "deep_colour" / f"{k}.png", mode="I;16")
        picture(root / "glass" / f"{k}.png", mode="RGBA")
        picture(root / "broken" / f"{k}.png")
    (root / "broken" / "2.png").write_bytes((root / "broken" / "1.png").read_bytes()[:40])


def write_idx(root):
    """Two folders of MNIST: one cut off, one of junk."""
    folder = root / "idx" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        header = struct.pack(">IIII", 2051, 9, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + bytes(100))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 9) + bytes(9))
    shutil.copytree(root / "idx", root / "junk")
    (root / "junk" / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"junk" * 9)


def write_configs(root):
    """YAML that is no configuration."""
    for name, text in {
        "key": "betta: 1", "list": "- 1", "open": "a: [1", "type": "dataset: 3",
        "tag": "!!python/object/apply:os.system ['touch hacked']", "binary": "\0\x01",
    }.items():  # fmt: skip
        (root / f"{name}.yaml").write_text(text)
    (root / "latin.yaml").write_bytes("dataset: fü".encode("latin-1"))


def damage(run, name, content):
    """Copy a run under another name, with other content in its checkpoint."""
    path = run.parent / name / "checkpoints" / "last.pt"
    shutil.copytree(run, run.parent / name)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)


def write_runs(root):
    """A sound run, damaged copies of it, and folders of no run."""
    run = root / "run"
    config = pv.RunConfig(dataset=str(root / "grey.npy"), hidden=(4,), latent_dim=2, epochs=1)
    pv.train(config, run)
    sound = (run / "checkpoints" / "last.pt").read_bytes()
    content = load_checkpoint(run / "checkpoints" / "last.pt")
    damage(run, "run_truncated", sound[: len(sound) // 2])
    damage(run, "run_hostile", {"model": Hostile()})
    damage(run, "run_list", [1, 2])
    damage(run, "run_keys", {"step": 1})
    damage(run, "run_shape", content | {"image_shape": [1, 5, 5]})
    damage(run, "run_nonsense", content | {"image_shape": "large"})
    damage(run, "run_config", sound)
    (root / "run_config" / "config.yaml").write_text("latent_dim: 3\n")
    (root / "folder").mkdir()
    (root / "folder" / "thesis.tex").write_text("mine")
    (root / "file").write_text("mine")
