"""What a run and a sweep promise, whatever happened to them."""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.campaign.trial import Child, run
from tests.support.runs import metrics


def difference(folder: Path, expected: Path) -> str:
    """How a finished run differs from one that was never disturbed; empty where it does not."""
    if not (folder / "summary.json").exists() or not (folder / "report.html").exists():
        return f"{folder.name}: no summary or no report"
    if metrics(folder) != metrics(expected):
        return f"{folder.name}: other metrics"
    one, other = (
        torch.load(run / "checkpoints/last.pt", weights_only=True) for run in (folder, expected)
    )
    same = all(torch.equal(value, other["model"][key]) for key, value in one["model"].items())
    if not same or one["step"] != other["step"]:
        return f"{folder.name}: other weights"
    summaries = [json.loads((run / "summary.json").read_text()) for run in (folder, expected)]
    if summaries[0]["test"] != summaries[1]["test"] or summaries[0]["steps"] != one["step"]:
        return f"{folder.name}: another summary"
    return ""


def sweep_difference(folder: Path, expected: Path) -> str:
    """The same of all runs of a sweep."""
    names = sorted(path.parent.name for path in expected.glob("*/config.yaml"))
    for name in names:
        if not (folder / name).exists():
            return f"{name} is missing"
        if text := difference(folder / name, expected / name):
            return text
    return ""


def killed(
    arguments: list[str],
    out: Path,
    rng: random.Random,
    whole: float,
    setup: Callable[[], None],
    numbers: tuple[int, ...] = (signal.SIGKILL,),
) -> str:
    """Kill a command at one to four random moments, then let it end; a complaint or nothing."""
    command = [*arguments, "--out", str(out)]
    for _ in range(rng.randint(1, 4)):
        child, number = Child(command, setup), rng.choice(numbers)
        time.sleep(rng.uniform(0, whole))
        child.kill(number)
        ended = child.wait()
        expected = {0, -number} | ({128 + number} if number != signal.SIGKILL else set())
        if ended.status not in expected:
            return f"after signal {number}: {ended.complaint() or ended.status} {ended.err[:200]}"
    return run(command, setup).failure()
