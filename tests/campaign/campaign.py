"""The trials made so far, and their table."""

import random
import time
from collections import Counter
from pathlib import Path


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

    def trials(self, count: int) -> range:
        """How many trials there are to be, at least one."""
        return range(max(1, round(count * self.scale)))

    def note(self, attack: str, complaint: str, start: float) -> None:
        """Count a trial."""
        row = self.table.setdefault(attack, [0, 0, 0.0])
        row[0] += 1
        row[1] += bool(complaint)
        row[2] += time.monotonic() - start
        if complaint:
            self.complaints[f"{attack}: {complaint[:160]}"] += 1
