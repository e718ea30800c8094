"""The stages of a script that looks at many things: none of them stops the others."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
LIMIT = 230  # seconds that a stage may take
Said = Iterator[str]


@dataclass(frozen=True)
class Place:
    """Where and on what the stages work."""

    device: str
    data_dir: Path
    out: Path
    small: bool  # whether a test asks: a few seconds in all
    until: float = math.inf  # when the stage's time is over

    @property
    def on_gpu(self) -> bool:
        """Return whether there is a GPU to look at."""
        return self.device == "cuda"

    @property
    def dataset(self) -> str:
        """Return MNIST where it is there, or else the embedded digits."""
        there = (self.data_dir / "MNIST" / "raw").exists() and not self.small
        return "mnist" if there else "digits"

    @property
    def left(self) -> float:
        """Return the seconds that the stage still has."""
        return max(0.0, self.until - time.monotonic())

    def run(self, command: list[str], folder: Path = HERE) -> subprocess.CompletedProcess:
        """Run a command for as long as the stage has time, and keep what it says."""
        options = {"cwd": folder, "capture_output": True, "text": True}
        try:
            return subprocess.run(command, timeout=self.left, **options)
        except subprocess.TimeoutExpired:
            raise Short(f"{' '.join(command[1:5])} ...: no time was left") from None

    def pyro_vae(self, *arguments: object) -> None:
        """Run a command of this package, which must end well."""
        done = self.run([sys.executable, "-m", "pyro_vae", *map(str, arguments)], Path())
        check(done)

    def keep(self, name: str, figures: object) -> None:
        """Write figures as JSON."""
        (self.out / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


class Short(Exception):
    """What fell short; the message says by how much."""


Stage = Callable[[Place], Said]


def of_stage(name: str, stage: Stage, place: Place) -> Said:
    """Return the lines of a stage, whatever becomes of it."""
    start = time.monotonic()
    place = replace(place, until=start + LIMIT)
    try:
        for line in stage(place):
            yield f"{name}: {line}"
            if not place.left:
                raise Short(f"stopped after {LIMIT} s; what it has not named was not looked at")
    except Exception as error:
        yield f"{name}: {fell_short(error)}"
    yield f"{name}: {time.monotonic() - start:.0f} s"


def fell_short(error: Exception) -> str:
    """Return the line of something that did not hold."""
    kind = "" if isinstance(error, Short) else f"{type(error).__name__}: "
    return f"fell short: {kind}{str(error).strip()[:300]}"


def each(looks: Iterable[Callable[[], str]]) -> Said:
    """Return a line for each look, whatever became of the one before."""
    for look in looks:
        try:
            yield f"held: {look()}"
        except Exception as error:
            yield fell_short(error)


def check(done: subprocess.CompletedProcess) -> None:
    """Raise Short, with the command's own last words, if it failed."""
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise Short(f"status {done.returncode}: {said}")
