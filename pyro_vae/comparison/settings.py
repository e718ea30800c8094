"""Which settings differ: means over seeds on the same images, and the differences that hold.

A setting is what runs agree in that differ in the seed only. Log probabilities of the same images
are compared, in nats per image. They come from the best source that all runs have: validation images
come before test images, since these are not to choose by, and then annealed importance sampling from
q(z|x) before the importance bound of the run's end.
"""

import csv
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pyro_vae.comparison.table import NO_MATTER, Finished, lines, varying
from pyro_vae.evaluation.ladder import ESTIMATE
from pyro_vae.evaluation.significance import Difference, all_differences
from pyro_vae.files import read_file
from pyro_vae.runs.per_image import load_per_image
from pyro_vae.runs.run import Run

Values = tuple[object, np.ndarray]  # a mark of the images, and a number for each of them


class Source(NamedTuple):
    """A way to find the log probability of each image of a run: its words, and the function."""

    words: str
    selects: bool  # whether the images were held out to choose by
    biased: bool  # whether it is looser for some settings than for others
    read: Callable[[Finished], Values | None]


class Setting(NamedTuple):
    """A setting: its name, its runs by seed, and the log probabilities, nats, (seeds, images)."""

    name: str
    runs: list[Finished]
    values: np.ndarray

    @property
    def mean(self) -> float:
        """Return the mean over seeds and images, nats per image."""
        return float(self.values.mean())


class Settings(NamedTuple):
    """The settings of a group of runs, best first, and the matrix of their differences."""

    source: Source
    settings: list[Setting]
    differences: list[list[Difference | None]]  # row minus column, nats per image

    def holds(self, row: int, column: int, level: float = 0.05) -> bool:
        """Return whether a difference holds after Holm's adjustment for the number of pairs."""
        difference = self.differences[row][column]
        return difference is not None and difference.p_value < level


def settings_of(runs: Sequence[Finished]) -> Settings | None:
    """Return the settings of runs on the same data, or None if fewer than two can be compared."""
    names = [name for name in varying(runs) if name not in NO_MATTER]
    for source in SOURCES:
        values = {id(run): source.read(run) for run in runs}
        marks = {value and value[0] for value in values.values()}
        if None in marks or len(marks) > 1:
            continue
        together = [
            Setting(name, line, np.stack([values[id(run)][1] for run in line]))
            for name, line in lines(runs, names).items()
        ]
        together.sort(key=lambda setting: -setting.mean)
        if len(together) < 2:
            return None
        return Settings(source, together, all_differences([s.values for s in together]))
    return None


def _annealed(name: str) -> Callable[[Finished], Values | None]:
    """Return the reader of a table that `evaluate` wrote, at one effort and of the current weights."""

    def read(run: Finished) -> Values | None:
        path = run.folder.path / name
        part = Run(run.folder.path, run.config).current_parts.get("likelihood")
        if not path.exists() or not part:
            return None
        try:
            rows = csv.DictReader(io.StringIO(read_file(path).decode()))
            column = np.array([float(row[ESTIMATE]) for row in rows])
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"likelihood: {path} is no table of bounds") from error
        return (part.get("quick"), len(column), _mark(run, name)), column

    return read


def _mark(run: Finished, name: str) -> int | None:
    split = load_per_image(run.folder.per_image).get(SPLITS[name])
    return None if split is None else split.mark


def _bound(split: str) -> Callable[[Finished], Values | None]:
    """Return the reader of the importance bound that was measured when the run ended."""

    def read(run: Finished) -> Values | None:
        measured = load_per_image(run.folder.per_image).get(split)
        if measured is None or "log_prob_nats" not in measured.columns:
            return None
        return measured.mark, measured.columns["log_prob_nats"]

    return read


SPLITS = {"validation_likelihood.csv": "validation", "likelihood.csv": "test"}
SOURCES = (
    Source("AIS of validation images", True, False, _annealed("validation_likelihood.csv")),
    Source("the importance bound of validation images", True, True, _bound("validation")),
    Source("AIS of test images", False, False, _annealed("likelihood.csv")),
    Source("the importance bound of test images", False, True, _bound("test")),
)
