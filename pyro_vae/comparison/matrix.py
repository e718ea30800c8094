"""The settings of a comparison as a page shows them: their ranks, and which differences hold."""

import math
from typing import NamedTuple

from pyro_vae.comparison.plots import Group
from pyro_vae.comparison.settings import Settings, settings_of
from pyro_vae.comparison.table import varying
from pyro_vae.evaluation.significance import Difference, two_way_mean
from pyro_vae.pages.wording import figure_text
from pyro_vae.runs.per_image import load_per_image

MOST = 12  # settings that a matrix shows
LOOK = (
    "Mean log probability of the same images by {source}; higher is better. Cells are the row minus"
    " the column. Framed ones hold over new images and new seeds: by Student's t at 5%, after Holm's"
    " adjustment for all pairs. Their errors are paired, and so smaller than those of the means. Do"
    " not read an order into cells without a frame."
)
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


class Cell(NamedTuple):
    """A difference as text, and whether it holds."""

    text: str
    holds: bool


class MatrixRow(NamedTuple):
    """A setting: its rank and name, its mean with an error, its seeds, and its differences."""

    rank: int
    name: str
    mean: str
    seeds: int
    cells: list[Cell]


class Matrix(NamedTuple):
    """The matrix of the settings, best first, with what a reader must know before."""

    look: str
    warnings: list[str]
    rows: list[MatrixRow]


def matrix(group: Group) -> Matrix | None:
    """Return the matrix of a group of runs, or None where no two settings can be compared."""
    found = settings_of(group.runs)
    if found is None:
        return None
    count = min(MOST, len(found.settings))
    rows = [_row(found, n, count) for n in range(count)]
    return Matrix(LOOK.format(source=found.source.words), _warnings(group, found), rows)


def _row(found: Settings, number: int, count: int) -> MatrixRow:
    """Return a row whose cells are the settings from the second on, blank up to the row's own."""
    setting = found.settings[number]
    cells = [
        Cell(_text(found.differences[number][other]), found.holds(number, other))
        if other > number
        else Cell("", False)
        for other in range(1, count)
    ]
    mean = figure_text(two_way_mean(setting.values)._asdict())
    return MatrixRow(number + 1, setting.name, mean, len(setting.runs), cells)


def _text(difference: Difference) -> str:
    error = difference.standard_error
    if math.isnan(error) or error == 0:
        return f"{difference.mean:+.2f}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{difference.mean:+.{places}f} ± {error:.{places}f}"


def _warnings(group: Group, found: Settings) -> list[str]:
    warnings = [_chosen(found) if found.source.selects else BY_TEST]
    if found.source.biased and "beta" in varying(group.runs):
        warnings.append(BY_BOUND)
    if any(len(setting.runs) == 1 for setting in found.settings):
        warnings.append(ONE_SEED)
    if len(found.settings) > MOST:
        warnings.append(f"The best {MOST} of {len(found.settings)} settings are shown.")
    return warnings


def _chosen(found: Settings) -> str:
    """Return the sentence on the setting that validation images choose, with its test figure."""
    best = found.settings[0]
    splits = [load_per_image(run.folder.per_image).get("test") for run in best.runs]
    known = [s.columns["log_prob_nats"] for s in splits if s and "log_prob_nats" in s.columns]
    sentence = f"Chosen on validation images: {best.name}."
    if len(known) < len(best.runs):
        return sentence
    test = figure_text(two_way_mean(known)._asdict())
    return f"{sentence} Its test images have {test} nats each, by the importance bound."
