"""Files that are damaged, hostile or small."""

import json
import random
import shutil
import time
from pathlib import Path

import numpy as np

from tests.campaign.campaign import Campaign
from tests.campaign.hostile import hostile_inputs
from tests.campaign.trial import TRAIN, quick_measures, run


def mutated_files(campaign: Campaign) -> None:
    """Files of a run folder with bytes changed, cut off, or replaced; every command on them."""
    original = campaign.new()
    assert run([*TRAIN, "--out", str(original)]).status == 0
    run(["evaluate", str(original), "--quick", "--only", "latents,limit"])
    names = ["config.yaml", "metrics.csv", "summary.json", "evaluation.json"]
    names += ["checkpoints/last.pt"]
    commands = {
        "report": lambda out: ["report", str(out)],
        "compare": lambda out: ["compare", str(out), str(original), "--out", str(out) + "-c"],
        "resume": lambda out: [*TRAIN, "--resume", "--out", str(out)],
        "resume for longer": lambda out: ["train", "--resume", "--out", str(out), "--epochs=7"],
        "sample": lambda out: ["sample", str(out), "--count", "2", "--out", str(out) + ".png"],
        "evaluate": lambda out: ["evaluate", str(out), "--quick", "--only", "latents"],
    }
    for _ in campaign.trials(60):
        out, start = campaign.new(), time.monotonic()
        shutil.copytree(original, out)
        path = out / campaign.rng.choice(names)
        mutation = _mutate(path, campaign.rng)
        name = campaign.rng.choice(list(commands))
        ended = run(commands[name](out))
        complaint = ended.complaint()
        if complaint:
            complaint = f"{name}, {path.name} {mutation}: {complaint}"
        elif ended.status == 2 and name.startswith("resume"):
            kept = all((out / n).exists() for n in names)
            complaint = "" if kept else f"{name}, {path.name} {mutation}: results were deleted"
        campaign.note(f"mutated file: {name}", complaint, start)
        shutil.rmtree(out, ignore_errors=True)


def _mutate(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    foreign = [b"[]", b"{}", b"null", b"3", b'"text"', b"\xff\xfe\x00", b"[" * 100_000]
    foreign += [json.dumps({"test": [], "parameters": "x"}).encode(), b"a: &a [*a]\n"]
    how = rng.choice(["flipped", "cut off", "replaced", "doubled", "emptied", "words"])
    if how == "flipped":
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == "cut off":
        content = content[: rng.randrange(len(content))]
    elif how == "replaced":
        content = rng.choice(foreign)
    elif how == "doubled":
        content = content + content
    elif how == "emptied":
        content = b""
    else:  # words where numbers belong
        digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
        for place in rng.sample(digits, min(len(digits), 5)):
            content[place] = ord("x")
    path.write_bytes(bytes(content))
    return how


def hostile_files(campaign: Campaign) -> None:
    """Bombs, pipes and devices where files are expected."""
    folder = campaign.new()
    folder.mkdir()
    for name, arguments in hostile_inputs(folder):
        start = time.monotonic()
        ended = run([*arguments, "--out", str(campaign.new())] if "--out" not in arguments
                    else arguments)  # fmt: skip
        complaint = ended.complaint()
        if not complaint and ended.status == 0:
            complaint = "was accepted"
        campaign.note(f"hostile: {name}", complaint, start)


def small_sets(campaign: Campaign) -> None:
    """`evaluate` on two to seven test images."""
    for count in range(2, 8):
        start, path, out = time.monotonic(), campaign.new(), campaign.new()
        rng = np.random.default_rng(count)
        np.savez(
            f"{path}.npz",
            train_images=rng.integers(256, size=(40, 8, 8), dtype=np.uint8),
            train_labels=np.arange(40) % 2,
            test_images=rng.integers(256, size=(count, 8, 8), dtype=np.uint8),
            test_labels=np.arange(count) % 2,
        )
        data = ["--hidden", "8", "--latent-dim", "2", "--epochs", "1"]
        ended = run(["train", "--dataset", f"{path}.npz", *data, "--out", str(out)])
        if not (complaint := ended.complaint()):
            ended = run(["evaluate", str(out), "--quick"], quick_measures)
            complaint = ended.complaint() or ("" if ended.status == 0 else ended.err[:160])
        campaign.note("evaluate on few images", complaint, start)
