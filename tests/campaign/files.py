"""Files that are damaged, hostile or small."""

import json
import os
import random
from pathlib import Path

from tests.campaign.campaign import Campaign
from tests.campaign.hostile import hostile_inputs
from tests.campaign.trial import TRAIN, run


def mutated_files(campaign: Campaign) -> None:
    """Files of a run folder changed, cut off, replaced, or no files any more; each command on them."""
    original = campaign.made()
    run(["evaluate", str(original), "--quick", "--only", "latents,limit"])
    names = ["config.yaml", "metrics.csv", "summary.json", "evaluation.json", "checkpoints/last.pt"]
    others = ["failed.txt", "per_image.npz", "report.html", "figures/samples.svg"]
    commands = {
        "report": ["report", "{}"],
        "compare": ["compare", "{}", str(original), "--out", "{}-c"],
        "resume": [*TRAIN, "--resume", "--out", "{}"],
        "resume for longer": ["train", "--resume", "--out", "{}", "--epochs=7"],
        "sample": ["sample", "{}", "--count", "2", "--out", "{}.png"],
        "evaluate": ["evaluate", "{}", "--quick", "--only", "latents"],
    }
    for _ in campaign.trials(60):
        file, name = campaign.rng.choice(names + others), campaign.rng.choice(list(commands))
        with campaign.trial(f"mutated file: {name}", copy_of=original) as trial:
            mutation = _mutate(trial.out / file, campaign.rng)
            ended = run([word.format(trial.out) for word in commands[name]])
            complaint = ended.complaint()
            if not complaint and ended.status == 2 and name.startswith("resume"):
                kept = all((trial.out / n).exists() for n in names)
                complaint = "" if kept else "results were deleted"
            trial.complaint = complaint and f"{name}, {file} {mutation}: {complaint}"


def _mutate(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes() if path.exists() else b"it diverged")
    foreign = [b"[]", b"{}", b"null", b"3", b'"text"', b"\xff\xfe\x00", b"[" * 100_000]
    foreign += [json.dumps({"test": [], "parameters": "x"}).encode(), b"a: &a [*a]\n"]
    how = rng.choice(
        ["flipped", "cut off", "replaced", "doubled", "emptied", "words", "pipe", "zeros"]
    )
    if how in ("pipe", "zeros"):
        path.unlink(missing_ok=True)
        os.mkfifo(path) if how == "pipe" else path.symlink_to("/dev/zero")
        return how
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
    """Bombs, pipes and devices where files are expected, and values that no setting takes."""
    folder = campaign.new()
    folder.mkdir()
    for name, arguments in hostile_inputs(folder):
        with campaign.trial(f"hostile: {name}") as trial:
            new = arguments[0] == "train" and "--out" not in arguments
            out = ["--out", str(trial.out)] if new else []
            ended = run([*arguments, *out])
            trial.complaint = ended.complaint() or ("was accepted" if ended.status == 0 else "")
