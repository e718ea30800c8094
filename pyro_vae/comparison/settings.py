"""Which settings differ: means over seeds on the same images, and the differences that hold.

A setting is what runs agree in that differ in the seed only. Log probabilities of the same images
are compared, in nats per image. They come from the best source that all runs have: validation images
come before test images, since these are not to choose by, and then annealed importance sampling from
q(z|x) before the importance bound of the run's end.
"""

import io
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyro_vae.comparison.plots import Group
from pyro_vae.comparison.table import line_settings, lines
from pyro_vae.evaluation.ladder import ESTIMATE
from pyro_vae.evaluation.significance import Difference, all_differences, two_way_mean
from pyro_vae.files import read_file
from pyro_vae.pages.wording import figure_text, number_text
from pyro_vae.runs.run import Run

MOST = 12  # settings that a page shows


class Source(NamedTuple):
    """Where the log probability of each image of a run is found, and its name on a page."""

    name: str
    split: str  # `validation`, of images that were held out to choose by, or `test`
    file: str = ""  # of annealed estimates (default: the bound in `per_image.npz`)


SOURCES = (
    Source("AIS of validation images", "validation", "validation_likelihood.csv"),
    Source("the importance bound of validation images", "validation"),
    Source("AIS of test images", "test", "likelihood.csv"),
    Source("the importance bound of test images", "test"),
)


class Values(NamedTuple):
    """A number for each image of a run, (N,), nats: a mark of the images, and how far it is biased."""

    mark: object
    nats: np.ndarray
    bias: float = 0.0  # of their mean, an estimate


class Setting(NamedTuple):
    """A setting: its name, its runs by seed, and the log probabilities, nats, (seeds, images)."""

    name: str
    runs: list[Run]
    values: np.ndarray
    bias: float = 0.0  # of the mean, an estimate

    @property
    def mean_text(self) -> str:
        """Return the mean with its error over seeds and images, and by bias, as text."""
        return _mean_text(self.values, self.bias)

    @property
    def test_text(self) -> str:
        """Return the mean bound of the test images as text; empty where a run does not have it."""
        found = [_bound(run, "test") for run in self.runs]
        known = [value.nats for value in found if value is not None]
        return _mean_text(known) if len(known) == len(found) else ""


def _mean_text(values: ArrayLike, bias: float = 0.0) -> str:
    mean, error = two_way_mean(values)
    return figure_text({"mean": mean, "standard_error": error + bias})


class Matrix(NamedTuple):
    """The settings of a group of runs, best first, and the matrix of their differences."""

    source: Source
    settings: list[Setting]
    differences: list[list[Difference | None]]  # row minus column, nats per image

    def holds(self, row: int, column: int, level: float = 0.05) -> bool:
        """Return whether a difference holds after Holm's adjustment for the number of pairs.

        It also has to exceed two of its errors, of which bias is a part that chance does not explain.
        """
        found = self.differences[row][column]
        return found.p_value < level and not abs(found.mean) <= 2 * found.standard_error

    @property
    def shown(self) -> list[Setting]:
        """Return the settings that a page shows."""
        return self.settings[:MOST]

    def cells(self, row: int) -> list[tuple[str, bool]]:
        """Return the row of a setting on a page: each difference as text, and whether it holds.

        The cells start with the second column, and are blank up to the setting's own one.
        """
        cells = [("", False)] * row
        for column in range(row + 1, len(self.shown)):
            found = self.differences[row][column]
            text = number_text(found.mean, found.standard_error, sign="+")
            cells.append((text, self.holds(row, column)))
        return cells


def matrix_of(group: Group) -> Matrix | None:
    """Return the matrix of runs on the same data, or None if fewer than two settings can be compared.

    A single image tells nothing of new images, so that there is no matrix either. The errors of
    differences include the bias of both estimates.
    """
    for source in SOURCES:
        values = {
            folder: _annealed(run, source) if source.file else _bound(run, source.split)
            for folder, run in group.runs.items()
        }
        marks = {value and value.mark for value in values.values()}
        if None in marks or len(marks) > 1:
            continue
        settings = []
        for name, line in lines(group.table, line_settings(group.table)):
            found = [values[folder] for folder in line.index]
            bias = float(np.mean([value.bias for value in found]))
            runs = [group.runs[folder] for folder in line.index]
            settings.append(Setting(name, runs, np.stack([v.nats for v in found]), bias))
        settings.sort(key=lambda setting: -setting.values.mean())
        if len(settings) < 2 or settings[0].values.shape[1] < 2:
            return None
        return Matrix(source, settings, _differences(settings))
    return None


def _differences(settings: list[Setting]) -> list[list[Difference | None]]:
    """Return the differences of settings, with the bias of both estimates in their errors."""
    matrix = all_differences([setting.values for setting in settings])
    for one, row in zip(settings, matrix):
        for column, other in enumerate(settings):
            if found := row[column]:
                error = found.standard_error + one.bias + other.bias
                row[column] = found._replace(standard_error=error)
    return matrix


# --- sources ---------------------------------------------------------------------------------------


def _annealed(run: Run, source: Source) -> Values | None:
    """Return the table that `evaluate` wrote, at one effort and of the current weights."""
    path, part = run.folder / source.file, run.current_parts.get("likelihood")
    if not path.exists() or not part:
        return None
    try:
        table = pd.read_csv(io.BytesIO(read_file(path)))
        nats = table[ESTIMATE].to_numpy(float)
        biases = table.get(f"{ESTIMATE}_bias", pd.Series([0.0])).to_numpy(float)
        if not np.isfinite(nats).all():
            raise ValueError("expected finite numbers")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"likelihood: {path} is no table of bounds; delete it and evaluate the run again"
        ) from error
    images = run.per_image.get(source.split)
    mark = part.get("quick"), len(nats), images and images.mark
    return Values(mark, nats, float(np.nan_to_num(biases.mean())))


def _bound(run: Run, split: str) -> Values | None:
    """Return the importance bound that was measured when the run ended."""
    images = run.per_image.get(split)
    if images is None or "log_prob_nats" not in images.columns:
        return None
    return Values(images.mark, images.columns["log_prob_nats"])
