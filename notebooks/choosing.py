"""Which value of a setting to take: the runs that have the best one, and how far the others are."""

import numpy as np
import pandas as pd

from pyro_vae.comparison.seeds import ERROR, Names, best_settings, differences, over_seeds
from pyro_vae.evaluation.significance import SIGNS, Difference, all_differences
from pyro_vae.names import check_name

LEVEL = 0.05


def at_best(
    table: pd.DataFrame, column: str, setting: str, by: Names, best: str = "highest"
) -> pd.DataFrame:
    """Return the runs whose setting has the value at which the mean of a measure is best.

    To choose by test images makes the chosen ones look better there than they are: choose by
    validation images.

    Args:
        table, column, setting, by, best: those of `best_settings`.

    Raises:
        ValueError: a column that the table does not have, or an unknown `best`.
    """
    chosen = best_settings(table, column, setting, by, best)["best"].rename("chosen")
    wanted = table.join(chosen, on=by)["chosen"]
    unset = table[setting].isna() & wanted.isna()
    return table[(table[setting] == wanted) | unset]


def behind_best(
    table: pd.DataFrame, column: str, setting: str, by: Names, best: str = "highest"
) -> pd.DataFrame:
    """Return by how much each value of a setting is behind the best one, as paired differences.

    Args:
        table, column, setting, by, best: those of `best_settings`.

    Returns:
        The columns `behind` and `behind.standard_error`, both 0 for the best value, in rows that are
        named by the settings `by` and the setting, best first.

    Raises:
        ValueError: a column that the table does not have, or an unknown `best`.
    """
    sign, behind = SIGNS[check_name("best", best, SIGNS)], {}
    for name, runs in table.groupby(by, sort=False, dropna=False):
        means = sign * over_seeds(runs, setting, column)[column]
        order = means.sort_values(ascending=False).index
        rows = [{"behind": 0.0, "behind" + ERROR: 0.0}]
        for found in _beside_first(runs, column, setting, order):
            is_behind = found.p_value < LEVEL
            rows.append({"behind": sign * found.mean if is_behind else 0.0})
            rows[-1]["behind" + ERROR] = found.standard_error
        behind[name] = pd.DataFrame(rows, index=order)
    settings = [by] if isinstance(by, str) else [*by]
    return pd.concat(behind, names=[*settings, setting])


def _beside_first(
    runs: pd.DataFrame, column: str, setting: str, values: pd.Index
) -> list[Difference]:
    """Return the differences of the first value and each other one, adjusted for all pairs."""
    measures = [np.array([*runs[runs[setting] == value][column].dropna()]) for value in values]
    if min(len(seeds) for seeds in measures) > 1:
        return all_differences(measures)[0][1:]
    count = len(values) * (len(values) - 1) / 2
    found = []
    for value in values[1:]:
        mean, error, p_value, _ = differences(runs, column, setting, values[0], value).iloc[0]
        found.append(Difference(mean, error, np.nan, p_value * count))  # Bonferroni
    return found
