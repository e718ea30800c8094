"""Which settings differ: means over seeds on the same images, and the differences that hold.

A setting is what runs agree in that differ in the seed only. Log probabilities of the same images
are compared, in nats per image. They come from the best source that all runs have: validation images
come before test images, since these are not to choose by, and then annealed importance sampling from
q(z|x) before the importance bound of the run's end.
"""

import csv
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pyro_vae.comparison.plots import Group
from pyro_vae.comparison.table import line_settings, lines
from pyro_vae.evaluation.ladder import ESTIMATE
from pyro_vae.evaluation.significance import Difference, all_differences, two_way_mean
from pyro_vae.files import read_file
from pyro_vae.pages.wording import figure_text, number_text
from pyro_vae.runs.run import Run


class Values(NamedTuple):
    """A number for each image of a run, (N,), nats: a mark of the images, and how far it is biased."""

    mark: object
    nats: np.ndarray
    bias: float = 0.0  # of their mean, an estimate


MOST = 12  # settings that a page shows


class Source(NamedTuple):
    """A way to find the log probability of each image of a run: its words, and the function."""

    words: str
    selects: bool  # whether the images were held out to choose by
    biased: bool  # whether it is looser for some settings than for others
    read: Callable[[Run], Values | None]


def _mean_text(values: ArrayLike, bias: float = 0.0) -> str:
    mean, error = two_way_mean(values)
    return figure_text({"mean": mean, "standard_error": error + bias})


class Setting(NamedTuple):
    """A setting: its name, its runs by seed, and the log probabilities, nats, (seeds, images)."""

    name: str
    runs: list[Run]
    values: np.ndarray
    bias: float = 0.0  # of the mean, an estimate

    @property
    def mean(self) -> float:
        """Return the mean over seeds and images, nats per image."""
        return float(self.values.mean())

    @property
    def mean_text(self) -> str:
        """Return the mean with its error over seeds and images, and by bias, as text."""
        return _mean_text(self.values, self.bias)

    @property
    def test_text(self) -> str:
        """Return the mean bound of the test images as text; empty where a run does not have it."""
        found = [_bound("test")(run) for run in self.runs]
        known = [value.nats for value in found if value is not None]
        return _mean_text(known) if len(known) == len(found) else ""


class Cell(NamedTuple):
    """A difference as text, and whether it holds after Holm's adjustment for the number of pairs."""

    text: str
    holds: bool


class Matrix(NamedTuple):
    """The settings of a group of runs, best first, and the matrix of their differences."""

    source: Source
    settings: list[Setting]
    differences: list[list[Difference | None]]  # row minus column, nats per image

    def holds(self, row: int, column: int, level: float = 0.05) -> bool:
        """Return whether a difference holds after Holm's adjustment for the number of pairs.

        It also has to exceed two of its errors, of which bias is a part that chance does not explain.
        """
        difference = self.differences[row][column]
        if difference is None or not difference.p_value < level:
            return False
        return not abs(difference.mean) <= 2 * self.error(row, column)

    def error(self, row: int, column: int) -> float:
        """Return the error of a difference with what the bias of both estimates may add to it."""
        biases = self.settings[row].bias + self.settings[column].bias
        return self.differences[row][column].standard_error + biases

    @property
    def shown(self) -> list[Setting]:
        """Return the settings that a page shows."""
        return self.settings[:MOST]

    def cells(self, row: int) -> list[Cell]:
        """Return the row of a setting on a page, from the second column on, blank up to its own."""
        others = range(row + 1, len(self.shown))
        cells = [Cell("", False)] * row
        for other in others:
            mean, error = self.differences[row][other].mean, self.error(row, other)
            cells.append(Cell(number_text(mean, error, sign="+"), self.holds(row, other)))
        return cells


def matrix_of(group: Group) -> Matrix | None:
    """Return the matrix of runs on the same data, or None if fewer than two settings can be compared.

    A single image tells nothing of new images, so that there is no matrix either.
    """
    for source in SOURCES:
        values = {folder: source.read(run) for folder, run in group.runs.items()}
        marks = {value and value.mark for value in values.values()}
        if None in marks or len(marks) > 1:
            continue
        settings = []
        for name, line in lines(group.table, line_settings(group.table)).items():
            runs = [group.runs[folder] for folder in line.index]
            found = [values[folder] for folder in line.index]
            bias = float(np.mean([value.bias for value in found]))
            settings.append(Setting(name, runs, np.stack([v.nats for v in found]), bias))
        settings.sort(key=lambda setting: -setting.mean)
        if len(settings) < 2 or settings[0].values.shape[1] < 2:
            return None
        return Matrix(source, settings, all_differences([s.values for s in settings]))
    return None


# --- sources ---------------------------------------------------------------------------------------


def _annealed(split: str, name: str) -> Callable[[Run], Values | None]:
    """Return the reader of a table that `evaluate` wrote, at one effort and of the current weights."""

    def read(run: Run) -> Values | None:
        path, part = run.folder / name, run.current_parts.get("likelihood")
        if not path.exists() or not part:
            return None
        try:
            rows = list(csv.DictReader(io.StringIO(read_file(path).decode())))
            column = np.array([float(row[ESTIMATE]) for row in rows])
            biases = [float(row.get(f"{ESTIMATE}_bias") or 0) for row in rows]
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(
                f"likelihood: {path} is no table of bounds; delete it and evaluate the run again"
            ) from error
        images = run.per_image.get(split)
        mark = part.get("quick"), len(column), images and images.mark
        return Values(mark, column, float(np.nan_to_num(np.mean(biases))))

    return read


def _bound(split: str) -> Callable[[Run], Values | None]:
    """Return the reader of the importance bound that was measured when the run ended."""

    def read(run: Run) -> Values | None:
        images = run.per_image.get(split)
        if images is None or "log_prob_nats" not in images.columns:
            return None
        return Values(images.mark, images.columns["log_prob_nats"])

    return read


SOURCES = (
    Source(
        "AIS of validation images",
        True,
        False,
        _annealed("validation", "validation_likelihood.csv"),
    ),
    Source("the importance bound of validation images", True, True, _bound("validation")),
    Source("AIS of test images", False, False, _annealed("test", "likelihood.csv")),
    Source("the importance bound of test images", False, True, _bound("test")),
)
