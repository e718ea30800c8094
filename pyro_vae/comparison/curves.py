"""Curves and points of figures from a table of runs, as means over seeds with their errors."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from pyro_vae.comparison.seeds import Names, over_seeds
from pyro_vae.evaluation.samples import radial_power_spectrum
from pyro_vae.evaluation.significance import SIGNS
from pyro_vae.figures.many_runs import Curve
from pyro_vae.figures.side_by_side import Marks
from pyro_vae.names import check_name
from pyro_vae.runs.measured import ERROR
from pyro_vae.settings import setting_text


def curves_over(
    table: pd.DataFrame, setting: str, column: str, by: str | None = None, best: str = ""
) -> list[Curve]:
    """Return a curve of a measure over a setting for each value of another setting.

    Args:
        table: a row for each run.
        setting: what the curves run over, such as `beta`.
        column: the measure.
        by: the setting whose values get a curve each (default: one curve).
        best: `highest` or `lowest`, to ring the best point of each curve (default: no ring).

    Raises:
        ValueError: a column that the table does not have, or an unknown `best`.
    """
    groups = [("", table)]
    if by is not None:
        check_name("by: column", by, table.columns)
        groups = list(table.groupby(by, sort=False))
    curves = []
    for number, (value, runs) in enumerate(groups):
        means = over_seeds(runs, setting, column).sort_index().dropna(subset=column)
        if len(means):
            y, errors = means[column].tolist(), means[column + ERROR].tolist()
            name, ring = setting_text(value), _best(means[column], best)
            x = means.index.tolist()
            curves.append(Curve(name, number, number, x, y, errors, best=ring))
    return curves


def curves_of(table: pd.DataFrame, setting: str, columns: Sequence[str]) -> list[Curve]:
    """Return a curve over a setting for each of several measures, which name the curves.

    Args:
        table: a row for each run.
        setting: what the curves run over, such as `beta`.
        columns: the measures.

    Raises:
        ValueError: a column that the table does not have.
    """
    curves = []
    for number, column in enumerate(columns):
        for curve in curves_over(table, setting, column):
            curves.append(curve._replace(label=column, colour=number, dash=number))
    return curves


def rate_distortion_curve(table: pd.DataFrame, label: str = "") -> Curve:
    """Return the curve of test distortion over test rate of runs with several betas.

    It leads from the smallest beta to the largest, and both are written at its ends.

    Args:
        table: a row for each run, with the figures of `Runs.table`.
        label: the curve's name.
    """
    rate, distortion = "test.rate_nats", "test.distortion_nats"
    means = over_seeds(table, "beta", [rate, distortion]).sort_index()
    return Curve(
        label,
        colour=0,
        dash=0,
        x=means[rate].tolist(),
        y=means[distortion].tolist(),
        x_error=means[rate + ERROR].tolist(),
        y_error=means[distortion + ERROR].tolist(),
        ends=(f"beta {means.index[0]:g}", f"beta {means.index[-1]:g}"),
    )


def relative_spectrum(images: Tensor, reference: Tensor, label: str, number: int) -> Curve:
    """Return the curve of power over frequency of images, divided by that of a reference.

    Args:
        images, reference: (N, C, H, W) and (M, C, H, W).
        label: the curve's name.
        number: the number of the curve's colour and dashes.
    """
    found = radial_power_spectrum(images)
    power = radial_power_spectrum(reference).power
    y, errors = (found.power / power).tolist(), (found.standard_error / power).tolist()
    return Curve(label, number, number, found.frequencies.tolist(), y, errors)


def _best(means: pd.Series, best: str) -> int | None:
    """Return the place of the best mean, if any is best."""
    if not best:
        return None
    return int((SIGNS[check_name("best", best, SIGNS)] * means).argmax())


def marks_of(table: pd.DataFrame, column: str, names: Names, order: list, label: str = "") -> Marks:
    """Return the points of a measure, one for each name in order, for `named_points`.

    Args:
        table: a row for each run.
        column: the measure.
        names: the setting whose values the points are named by, or several.
        order: those values in the order of the points; one without a run gets no point.
        label: what the points are called in the legend.

    Raises:
        ValueError: a column that the table does not have.
    """
    means = over_seeds(table, names, column).reindex(order)
    return Marks(label, means[column].tolist(), means[column + ERROR].tolist())
