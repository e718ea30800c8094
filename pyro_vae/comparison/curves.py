"""Curves and points of figures from a table of runs, as means over seeds with their errors."""

import pandas as pd

from pyro_vae.comparison.seeds import Names, over_seeds
from pyro_vae.evaluation.best import SIGNS
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
