"""Tables of runs summed up over seeds: means with errors, differences, and the best settings.

A table has a row for each run; where it has the seeds, a row with the settings and the seed of an
earlier one is left out. A cell of a measure is a number, or an array (N,) with a number for
each of N images. The standard error of a column NAME stands in the column NAME.standard_error.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pyro_vae.comparison.table import ROWS, distinct_rows, groups, or_none, place_of
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.significance import (
    SIGNS,
    Difference,
    confidence_set,
    paired_difference,
    two_way_mean,
)
from pyro_vae.names import check_name
from pyro_vae.pages.wording import number_text
from pyro_vae.runs.measure import ERROR
from pyro_vae.settings import setting_text

Names = str | Sequence[str]
ALL = "all"  # the name of all runs together


def over_seeds(
    table: pd.DataFrame, by: Names, columns: Names, over_images: bool = False
) -> pd.DataFrame:
    """Return the means of measures over the runs that agree in some settings, with their errors.

    The standard error of numbers is that over seeds. That of values of images covers seeds and images,
    as in `pyro_vae.evaluation.significance.two_way_mean`. A single seed has none (NaN), since nothing
    is known of what another seed would give.

    Args:
        table: a row for each run.
        by: the settings in which runs agree; they name the rows that are returned.
        columns: the measures.
        over_images: give single seeds the error over images, of values or as the run has it.

    Returns:
        For each of `columns`, the mean and the column NAME.standard_error.

    Raises:
        ValueError: a column that the table does not have.
    """
    columns = _names(table, columns)

    def means(runs: pd.DataFrame) -> dict[str, float]:
        row = {}
        for name in columns:
            row[name], row[name + ERROR] = _mean(runs, name, over_images)
        return row

    return _row_for_each(table, by, means)


def with_errors(means: pd.DataFrame) -> pd.DataFrame:
    """Return the figures of a table as text, each with its standard error, as in 1.23 ± 0.04.

    A figure without an error stands alone. One that is missing is a dash. Figures of run folders,
    such as `test.elbo_nats`, get the names and units that they have on pages.

    Args:
        means: figures, and columns NAME.standard_error, as `over_seeds` returns them.
    """
    names = [name for name in means.columns if not name.endswith(ERROR)]
    texts = {}
    for name in names:
        errors = means.get(name + ERROR, pd.Series(math.nan, means.index))
        texts[name] = [_text(mean, error) for mean, error in zip(means[name], errors)]
    return pd.DataFrame(texts, index=means.index).rename(columns=_title)


def differences(
    table: pd.DataFrame, column: str, setting: str, one: object, other: object, by: Names = ()
) -> pd.DataFrame:
    """Return how a measure differs between two values of a setting: that of `one` minus `other`.

    With two seeds or more of both, the error is that of `paired_difference`, for new seeds and, where
    there are values of the same images, for new images. With one seed it is over images alone.

    Args:
        table: a row for each run.
        column: the measure.
        setting, one, other: the setting, and the two of its values that are compared.
        by: other settings, for each combination of which there is a row (default: one row).

    Returns:
        The columns `difference`, `difference.standard_error`, `p-value` (two-sided, for no
        difference) and `error over`, which says what the error covers.

    Raises:
        ValueError: a column that the table does not have, or a combination without a run of either.
    """
    _names(table, [column, setting])

    def compared(runs: pd.DataFrame) -> dict[str, Any]:
        by_value = dict(groups(runs, [setting]))
        both = [_values(by_value.get((or_none(v),), runs[:0]), column) for v in (one, other)]
        if not len(both[0]) or not len(both[1]):
            raise ValueError(f"{setting}: expected runs of {one} and {other}, got none of one")
        found, covered = _difference(*both)
        row = {"difference": found.mean, "difference" + ERROR: found.standard_error}
        return row | {"p-value": found.p_value, "error over": covered}

    return _row_for_each(table, by, compared, setting)


def best_settings(
    table: pd.DataFrame,
    column: str,
    setting: str,
    by: Names = (),
    best: str = "highest",
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the value of a setting where a measure is best, and which values can be the best.

    The values that can be the best are `pyro_vae.evaluation.significance.confidence_set`, which
    contains the truly best one with a probability of `level`. It needs two seeds or more of each
    value, and says nothing where there are fewer.

    Args:
        table: a row for each run.
        column: the measure.
        setting: the setting, such as `beta`.
        by: other settings, for each combination of which there is a row (default: one row).
        best: `highest` or `lowest`.
        level: the probability.

    Returns:
        The columns `best`; `value` and `value.standard_error`, the measure there; and `can be best`,
        in words. Combinations whose runs lack the measure have no row.

    Raises:
        ValueError: a column that the table does not have, or an unknown `best`.
    """
    _names(table, [column, setting])
    sign = SIGNS[check_name("best", best, SIGNS)]

    def chosen(runs: pd.DataFrame) -> dict[str, Any]:
        means = over_seeds(runs, setting, column)
        top = int((sign * means[column]).argmax())
        value, error = means.iloc[top]
        words = _can_be_best(runs, column, setting, best, level)
        return {
            "best": means.index[top],
            "value": value,
            "value" + ERROR: error,
            "can be best": words,
        }

    return _row_for_each(table[table[column].notna()], by, chosen, setting)


def _can_be_best(runs: pd.DataFrame, column: str, setting: str, best: str, level: float) -> str:
    values = {value: _values(its, column) for (value,), its in groups(runs, [setting])}
    if len(values) < 2:
        return "unknown: one value"
    if min(len(seeds) for seeds in values.values()) < 2:
        return "unknown: one seed"
    inside = confidence_set(list(values.values()), best, level)
    can_be = [value for value, is_in in zip(values, inside) if is_in]
    return ", ".join(setting_text(value) for value in sorted(can_be, key=place_of))


# --- groups of runs --------------------------------------------------------------------------------


def _names(table: pd.DataFrame, names: Names) -> list[str]:
    """Return names of columns as a list, after a check that the table has them."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        check_name("column", name, table.columns)
    return names


def _row_for_each(
    table: pd.DataFrame, by: Names, row_of: Callable[[pd.DataFrame], dict], *others: str
) -> pd.DataFrame:
    """Return a row of figures for the runs that agree in `by`, which names the rows.

    Runs that differ in `others` are no repeats of each other.
    """
    names = _names(table, by)
    table = distinct_rows(table, [*names, *others])
    found = groups(table, names)
    rows = [row_of(runs) for _, runs in found]
    if len(names) > 1:
        index = pd.MultiIndex.from_tuples([values for values, _ in found], names=names)
    elif names:
        values = [value for (value,), _ in found]
        index = pd.Index(values, name=names[0], tupleize_cols=False)  # hidden sizes are one value
    else:
        index = pd.Index([ALL] * len(found))
    return pd.DataFrame(rows, index=index)


# --- numbers, and values of images -----------------------------------------------------------------


def _values(runs: pd.DataFrame, column: str) -> np.ndarray:
    """Return a measure of runs: (S,), or (S, N) where it has a value for each of several images."""
    values = np.array(list(runs[column].dropna()), dtype=float)
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _mean(runs: pd.DataFrame, column: str, over_images: bool) -> Estimate:
    values = _values(runs, column)
    if not len(values):
        return Estimate(math.nan, math.nan)
    if len(values) == 1 and over_images:
        own = runs.get(column + ERROR, pd.Series([math.nan])).iloc[0]
        error = stats.sem(values[0]) if values.ndim == 2 else own
    elif values.ndim == 2:
        return two_way_mean(values)
    else:
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), float(error))


def _difference(one: np.ndarray, other: np.ndarray) -> tuple[Difference, str]:
    """Return the difference of two measures and what its error covers."""
    if min(len(one), len(other)) > 1:
        return paired_difference(one, other), "images and seeds" if one.ndim == 2 else "seeds"
    if one.ndim == 2:
        return _over_images(one.mean(0) - other.mean(0)), "images"
    return Difference(float(one.mean() - other.mean()), math.nan, math.nan, math.nan), "nothing"


def _over_images(gains: np.ndarray) -> Difference:
    mean, error, degrees = float(gains.mean()), float(stats.sem(gains)), len(gains) - 1
    t = abs(mean) / error if error > 0 else (math.inf if mean else 0.0)
    return Difference(mean, error, degrees, float(2 * stats.t.sf(t, degrees)))


# --- text ------------------------------------------------------------------------------------------


def _title(column: str) -> str:
    if column not in ROWS:
        return column
    name, unit = ROWS[column].name, ROWS[column].unit
    return f"{name} ({unit})" if unit else name


def _text(mean: Any, error: Any) -> str:
    if isinstance(mean, str):
        return mean
    return "-" if pd.isna(mean) else number_text(mean, math.nan if pd.isna(error) else error)
