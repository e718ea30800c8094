"""The trials made so far, and their table."""

import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.trial import TRAIN, run


@dataclass
class Trial:
    """A path of its own, and what is wrong: empty while nothing is."""

    out: Path
    complaint: str = ""


class Campaign:
    """All attacks, in a folder of their own.

    Args:
        scale: how many trials of each attack, 1 for those of a few minutes.
    """

    def __init__(self, folder: Path, seed: int, scale: float):
        self.folder, self.rng, self.scale = folder, random.Random(seed), scale
        self.table: dict[str, list[float]] = {}  # trials, failures, seconds
        self.complaints: Counter[str] = Counter()
        self.counter = 0

    def new(self) -> Path:
        """A path for a trial."""
        self.counter += 1
        return self.folder / f"t{self.counter}"

    def made(self, *arguments: str, setup: Callable[[], None] = lambda: None) -> Path:
        """The folder that an undisturbed command leaves, by default a run's."""
        out = self.new()
        assert run([*(arguments or TRAIN), "--out", str(out)], setup).status == 0
        return out

    def trials(self, count: int) -> range:
        """How many trials there are to be, at least one."""
        return range(max(1, round(count * self.scale)))

    @contextmanager
    def trial(self, attack: str, copy_of: Path | None = None) -> Iterator[Trial]:
        """A trial, which is counted at its end; its path may hold a copy of a folder."""
        trial, start = Trial(self.new()), time.monotonic()
        if copy_of:
            shutil.copytree(copy_of, trial.out)
        yield trial
        row = self.table.setdefault(attack, [0, 0, 0.0])
        row[0] += 1
        row[1] += bool(trial.complaint)
        row[2] += time.monotonic() - start
        if trial.complaint:
            self.complaints[f"{attack}: {trial.complaint[:160]}"] += 1
        shutil.rmtree(trial.out, ignore_errors=True)

    def leave_out(self, attack: str, reason: str) -> None:
        """Say why an attack isn't made here."""
        print(f"{attack}: left out, {reason}", file=sys.stderr)
