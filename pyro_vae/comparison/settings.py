"""Which settings differ: means over seeds on the same images, and the differences that hold.

A setting is what runs agree in that differ in the seed only. Log probabilities of the same images
are compared, in nats per image. They come from the best source that all runs have: validation images
come before test images, since these are not to choose by, and then annealed importance sampling from
q(z|x) before the importance bound of the run's end.
"""

import csv
import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pyro_vae.comparison.plots import Group
from pyro_vae.comparison.table import line_settings, lines, varying
from pyro_vae.evaluation.ladder import ESTIMATE
from pyro_vae.evaluation.significance import Difference, all_differences, two_way_mean
from pyro_vae.files import read_file
from pyro_vae.pages.wording import figure_text
from pyro_vae.runs.run import Run

Values = tuple[object, np.ndarray]  # a mark of the images, and a number for each of them

MOST = 12  # settings that a page shows
ONE_SEED = (
    "A setting with a single seed has no error here, since nothing is known of what another seed"
    " would give. Train two seeds or more of each."
)
BY_TEST = (
    "Ranked on test images: the best of many settings looks better there than it is. To choose"
    " between settings, hold images out with --validation always."
)
BY_BOUND = (
    "An importance bound is looser where a small beta has made q narrow, so it can prefer a larger"
    " beta that is not better. To choose between betas, measure the runs with 'pyro-vae evaluate"
    " --only likelihood' and compare again."
)


class Source(NamedTuple):
    """A way to find the log probability of each image of a run: its words, and the function."""

    words: str
    selects: bool  # whether the images were held out to choose by
    biased: bool  # whether it is looser for some settings than for others
    read: Callable[[Run], Values | None]


class Setting(NamedTuple):
    """A setting: its name, its runs by seed, and the log probabilities, nats, (seeds, images)."""

    name: str
    runs: list[Run]
    values: np.ndarray

    @property
    def mean(self) -> float:
        """Return the mean over seeds and images, nats per image."""
        return float(self.values.mean())


class Matrix(NamedTuple):
    """The settings of a group of runs, best first, and the matrix of their differences."""

    source: Source
    settings: list[Setting]
    differences: list[list[Difference | None]]  # row minus column, nats per image

    def holds(self, row: int, column: int, level: float = 0.05) -> bool:
        """Return whether a difference holds after Holm's adjustment for the number of pairs."""
        difference = self.differences[row][column]
        return difference is not None and difference.p_value < level


def matrix_of(group: Group) -> Matrix | None:
    """Return the matrix of runs on the same data, or None if fewer than two settings can be compared."""
    for source in SOURCES:
        values = {folder: source.read(run) for folder, run in group.runs.items()}
        marks = {value and value[0] for value in values.values()}
        if None in marks or len(marks) > 1:
            continue
        settings = []
        for name, line in lines(group.table, line_settings(group.table)).items():
            runs = [group.runs[folder] for folder in line.index]
            nats = np.stack([values[folder][1] for folder in line.index])
            settings.append(Setting(name, runs, nats))
        settings.sort(key=lambda setting: -setting.mean)
        if len(settings) < 2:
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
            rows = csv.DictReader(io.StringIO(read_file(path).decode()))
            column = np.array([float(row[ESTIMATE]) for row in rows])
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"likelihood: {path} is no table of bounds") from error
        images = run.per_image.get(split)
        return (part.get("quick"), len(column), images and images.mark), column

    return read


def _bound(split: str) -> Callable[[Run], Values | None]:
    """Return the reader of the importance bound that was measured when the run ended."""

    def read(run: Run) -> Values | None:
        images = run.per_image.get(split)
        if images is None or "log_prob_nats" not in images.columns:
            return None
        return images.mark, images.columns["log_prob_nats"]

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


# --- as a page shows it ----------------------------------------------------------------------------


class MatrixRow(NamedTuple):
    """A setting: its rank and name, its mean with an error, its seeds, and its differences.

    A difference is its text, and whether it holds.
    """

    rank: int
    name: str
    mean: str
    seeds: int
    cells: list[tuple[str, bool]]


def shown_rows(matrix: Matrix) -> list[MatrixRow]:
    """Return the rows of the best settings."""
    count = min(MOST, len(matrix.settings))
    rows = []
    for number, setting in enumerate(matrix.settings[:count]):
        blank = [("", False)] * number
        others = range(number + 1, count)
        cells = [(_text(matrix.differences[number][n]), matrix.holds(number, n)) for n in others]
        mean = figure_text(two_way_mean(setting.values)._asdict())
        rows.append(MatrixRow(number + 1, setting.name, mean, len(setting.runs), blank + cells))
    return rows


def _text(difference: Difference) -> str:
    error = difference.standard_error
    if math.isnan(error) or error == 0:
        return f"{difference.mean:+.2f}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{difference.mean:+.{places}f} ± {error:.{places}f}"


def warnings_of(matrix: Matrix, group: Group) -> list[str]:
    """Return what a reader must know before the matrix."""
    warnings = [_chosen(matrix) if matrix.source.selects else BY_TEST]
    if matrix.source.biased and "beta" in varying(group.table):
        warnings.append(BY_BOUND)
    if any(len(setting.runs) == 1 for setting in matrix.settings):
        warnings.append(ONE_SEED)
    if len(matrix.settings) > MOST:
        warnings.append(f"The best {MOST} of {len(matrix.settings)} settings are shown.")
    return warnings


def _chosen(matrix: Matrix) -> str:
    """Return the sentence on the setting that validation images choose, with its test figure."""
    best = matrix.settings[0]
    splits = [run.per_image.get("test") for run in best.runs]
    known = [s.columns["log_prob_nats"] for s in splits if s and "log_prob_nats" in s.columns]
    sentence = f"Chosen on validation images: {best.name}."
    if len(known) < len(best.runs):
        return sentence
    test = figure_text(two_way_mean(known)._asdict())
    return f"{sentence} Its test images have {test} nats each, by the importance bound."
