"""Loaders on files in their true formats, written small; the real files where the reader has them."""

import gzip
import pickle
import shutil
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

import pyro_vae as pv
from pyro_vae.data.mapped import MappedImages
from pyro_vae.data.pictures import Form

rng = np.random.default_rng(0)


def write_idx(folder, prefix, images, first=0):
    labels = np.arange(len(images)) % 10 + first
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">IIII", 2051, len(images), 28, 28)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = struct.pack(">II", 2049, len(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.astype("u1").tobytes())


@pytest.mark.parametrize(
    "name, folder", [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path, name, folder, packed):
    """As they are published or unpacked; nothing is downloaded."""
    train, test = (rng.integers(256, size=(n, 28, 28), dtype=np.uint8) for n in (12, 5))
    write_idx(tmp_path / folder / "raw", "train", train)
    write_idx(tmp_path / folder / "raw", "t10k", test)
    for file in list((tmp_path / folder / "raw").iterdir()) if packed else []:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    before = sorted(tmp_path.rglob("*"))
    data = pv.load_dataset(name, tmp_path, download=False)
    assert sorted(tmp_path.rglob("*")) == before, "written to"
    assert data.levels == 256 and data.image_shape == (1, 28, 28)
    assert len(data.train) == 12 and len(data.test) == 5
    assert torch.equal(data.train.images, torch.from_numpy(train / 255).float().unsqueeze(1))
    assert data.train.labels.tolist() == [n % 10 for n in range(12)]


@pytest.mark.parametrize("split, first", [("letters", 1), ("balanced", 0)])
@pytest.mark.parametrize("packed", [False, True])
def test_emnist_files(tmp_path, split, first, packed):
    """They lie on their side, and all splits lie in one folder."""
    raw, images = tmp_path / "EMNIST" / "raw", rng.integers(256, size=(12, 28, 28), dtype=np.uint8)
    for name in (split, "digits"):
        for part, rows in (("train", slice(8)), ("test", slice(8, 12))):
            write_idx(raw, f"emnist-{name}-{part}", images[rows].swapaxes(1, 2), first)
    for file in list(raw.glob(f"emnist-{split}*")) if packed else []:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    data = pv.load_dataset(f"emnist_{split}", tmp_path, download=False)
    assert torch.equal(data.train.images, torch.from_numpy(images[:8, None] / 255).float())
    assert torch.equal(data.test.images, torch.from_numpy(images[8:, None] / 255).float())
    assert data.train.labels.tolist() == list(range(8)) and data.test.labels.tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_omniglot_files(tmp_path, monkeypatch):
    """A stroke down the middle of white paper; the characters of test images are others."""
    paper = Image.new("1", (105, 105), 1)
    paper.paste(0, (45, 0, 60, 105))
    for part in ("background", "evaluation"):
        for character in ("Greek/character01", "Greek/character02", "Latin/character01"):
            folder = tmp_path / "omniglot-py" / f"images_{part}" / character
            folder.mkdir(parents=True)
            paper.save(folder / "0001_01.png")
    monkeypatch.setattr("torchvision.datasets.omniglot.check_integrity", lambda *a: True)
    data = pv.load_dataset("omniglot", tmp_path, download=False)
    assert data.train.labels.tolist() == [0, 1, 2] and data.test.labels is None
    row = data.test.images[2, 0, 9]
    assert data.image_shape == (1, 28, 28) and (row[12:16] > 0.8).all() and (row[:10] < 0.01).all()


def write_celeba(folder, monkeypatch):
    """Faces of 148x148 grey pixels with a black border, two for each part of the partition."""
    (folder / "img_align_celeba").mkdir(parents=True)
    rows = [f"{n:06d}.jpg" for n in range(1, 7)]
    for n, name in enumerate(rows):
        picture = Image.new("RGB", (178, 218))
        picture.paste((40 * n + 40,) * 3, (15, 35, 163, 183))
        picture.save(folder / "img_align_celeba" / name, quality=100)
    for about, head, values in (
        *(("list_eval_partition", "", None), ("identity_CelebA", "", "7")),
        *((f"list_{name}_celeba", "6\nname\n", "1") for name in ("attr", "bbox")),
        ("list_landmarks_align_celeba", "6\nname\n", "1"),
    ):
        lines = [f"{name} {values or n // 2}\n" for n, name in enumerate(rows)]
        (folder / f"{about}.txt").write_text(head + "".join(lines))
    monkeypatch.setattr("torchvision.datasets.celeba.check_integrity", lambda *a: True)


def test_celeba_files(tmp_path, monkeypatch):
    write_celeba(tmp_path / "celeba", monkeypatch)
    here = pv.load_dataset("celeba", tmp_path, validation=True, form=Form(32))
    monkeypatch.setattr("PIL.Image.open", None)  # pictures are decoded once
    there = pv.load_dataset("celeba", tmp_path, validation=True, form=Form(32), limit=1e-6)
    for part, first in (("train", 40), ("validation", 120), ("test", 200)):
        images = getattr(here, part).images
        expected = torch.tensor([first, first + 40]).clamp(max=255).view(2, 1, 1, 1) / 255
        assert images.shape == (2, 3, 32, 32) and (images - expected).abs().max() < 0.03
        assert isinstance(getattr(there, part).images, MappedImages)
        assert torch.equal(getattr(there, part).images[:], images)
    monkeypatch.undo()
    monkeypatch.setattr("torchvision.datasets.celeba.check_integrity", lambda *a: True)
    assert pv.load_dataset("celeba", tmp_path, form=Form(channels=1)).image_shape == (1, 64, 64)


def test_svhn_files(tmp_path, monkeypatch):
    (tmp_path / "SVHN").mkdir()
    images = rng.integers(256, size=(4, 3, 32, 32), dtype=np.uint8)
    for split in ("train", "test"):
        path = tmp_path / "SVHN" / f"{split}_32x32.mat"
        savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": np.array([[1], [10], [3], [4]])})
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *a: True)
    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", lambda *a: True)
    data = pv.load_dataset("svhn", tmp_path)
    assert data.image_shape == (3, 32, 32)
    assert torch.equal(data.test.images, torch.from_numpy(images / 255).float())
    assert data.train.labels.tolist() == [1, 0, 3, 4]


def test_cifar10_files(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    images = rng.integers(256, size=(6, 3, 32, 32), dtype=np.uint8)
    for batch in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        content = {"data": images.reshape(6, -1), "labels": list(range(6))}
        (folder / batch).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
    data = pv.load_dataset("cifar10", tmp_path)
    assert len(data.train) == 30 and data.image_shape == (3, 32, 32)
    assert torch.equal(data.test.images, torch.from_numpy(images / 255).float())


@pytest.mark.parametrize("zipped", [False, True])
def test_binarized_mnist_files(tmp_path, zipped):
    folder = tmp_path / "BinarizedMNIST"
    folder.mkdir()
    pixels = {part: rng.integers(2, size=(n, 784)) for part, n in
              [("train", 5), ("valid", 2), ("test", 3)]}  # fmt: skip
    for part, rows in pixels.items():
        text = "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
        path = folder / f"binarized_mnist_{part}.amat"
        if zipped:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(text))
        else:
            path.write_bytes(text)
    data = pv.load_dataset("binarized_mnist", tmp_path, validation=True)
    assert data.levels == 2 and data.image_shape == (1, 28, 28)
    for part, split in [("train", data.train), ("valid", data.validation), ("test", data.test)]:
        assert torch.equal(split.images.flatten(1), torch.from_numpy(pixels[part]).float())
    assert pv.load_dataset("binarized_mnist", tmp_path).validation is None


@pytest.mark.parametrize("content", [b"", b"0 1\n", b"2 " * 783 + b"2\n"])
def test_damaged_binarized_mnist_is_an_error(tmp_path, content):
    (tmp_path / "BinarizedMNIST").mkdir()
    for part in ("train", "valid", "test"):
        (tmp_path / "BinarizedMNIST" / f"binarized_mnist_{part}.amat").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"binarized_mnist is not complete under .*(truncated|0 and 1)"
    ):
        pv.load_dataset("binarized_mnist", tmp_path)


def test_a_download_that_arrives_damaged_leaves_nothing(tmp_path, monkeypatch):
    def download(url, root, filename):
        root.mkdir(exist_ok=True)
        (root / filename).write_bytes(b"0 " * 783 + b"1\n")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    with pytest.raises(ValueError, match=r"binarized_mnist_train\.amat arrived damaged"):
        pv.load_dataset("binarized_mnist", tmp_path)
    assert not (tmp_path / "BinarizedMNIST" / "binarized_mnist_train.amat").exists()


def write_dsprites(folder, name, count=40):
    folder.mkdir(exist_ok=True)
    classes = rng.integers(3, size=(count, 6))
    classes[:, 0] = 0  # the constant colour of the published file
    pictures = np.zeros((count, 64, 64), np.uint8)
    pictures[np.arange(count), classes[:, 4], classes[:, 5]] = 1
    np.savez(
        folder / name, imgs=pictures, latents_classes=classes,
        metadata=np.array([{"pickled": len}], dtype=object),
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz", "dsprites_subset.npz"]
)
def test_dsprites_files(tmp_path, name):
    write_dsprites(tmp_path / "dsprites", name)
    data = pv.load_dataset("dsprites", tmp_path)
    assert (len(data.train), len(data.test)) == (36, 4) and data.levels == 2
    assert data.factor_names == ("shape", "scale", "orientation", "x", "y")
    for split in (data.train, data.test):
        _, _, row, column = split.images.nonzero(as_tuple=True)
        assert torch.equal(split.factors[:, 3:], torch.stack([row, column], 1))
        assert torch.equal(split.labels, split.factors[:, 0])


def test_dsprites_that_are_something_else(tmp_path):
    (tmp_path / "dsprites").mkdir()
    grey = rng.integers(256, size=(30, 4, 5), dtype=np.uint8)
    np.savez(tmp_path / "dsprites" / "dsprites_subset.npz", imgs=grey, latents_classes=grey[:, 0])
    with pytest.raises(ValueError, match="no binary pictures of 64x64 with five factors"):
        pv.load_dataset("dsprites", tmp_path)


@pytest.mark.parametrize("name, mean", [("mnist", 0.1307), ("fashion_mnist", 0.2860)])
def test_real_idx_files(real_data, tmp_path, name, mean):
    """The means that everybody normalises these sets by."""
    folder = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    if not (real_data / folder).is_dir():
        pytest.skip(f"no {folder} in PYRO_VAE_DATA")
    shutil.copytree(real_data / folder, tmp_path / folder, copy_function=shutil.copyfile)
    data = pv.load_dataset(name, tmp_path)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.images.mean().item() == pytest.approx(mean, abs=5e-5)


def test_real_binarized_mnist(real_data):
    if not (real_data / "BinarizedMNIST").is_dir():
        pytest.skip("no BinarizedMNIST in PYRO_VAE_DATA")
    data = pv.load_dataset("binarized_mnist", real_data, validation=True)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [50_000, 10_000, 10_000]
    assert 0.125 < data.train.images.mean().item() < 0.14


def test_real_dsprites(real_data):
    if not (real_data / "dsprites").is_dir():
        pytest.skip("no dsprites in PYRO_VAE_DATA")
    data = pv.load_dataset("dsprites", real_data)
    factors = torch.cat([data.train.factors, data.test.factors])
    assert len(factors) == len(factors.unique(dim=0)) == 46_080
    assert [int(f.max()) + 1 for f in factors.T] == [3, 6, 10, 16, 16]
