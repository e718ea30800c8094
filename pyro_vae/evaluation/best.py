"""Which of several settings can be the best one, given what a few seeds and images showed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pyro_vae.evaluation.paired import paired_difference
from pyro_vae.names import check_name

SIGNS = {"highest": 1.0, "lowest": -1.0}  # with its sign, a measure is best where it is highest


def confidence_set(
    settings: Sequence[ArrayLike], best: str = "highest", level: float = 0.95
) -> list[bool]:
    """Return for each setting whether it belongs to the confidence set of the best one.

    The set contains the truly best setting with a probability of `level` or more. A setting is left
    out where another one is better by a one-sided test at (1 - level) / (K - 1), for K settings. The
    truly best setting faces K - 1 such tests, and by Bonferroni's inequality one of them rejects it
    with a probability of at most 1 - level. A set of several settings says that the measurements do
    not tell which of them is best.

    Arrays (S, N) of a measure of the same N images are compared by `paired_difference`, for new
    images and new seeds. Arrays (S,) with a number for each seed are compared by Student's t for new
    seeds, with one variance of seeds for all settings.

    Args:
        settings: an array for each setting, (S, N) or (S,), with S of two or more.
        best: `highest` or `lowest`.
        level: the probability, between 0 and 1.

    Raises:
        ValueError: an unknown `best`, a level out of range, fewer than two settings or seeds, or
            arrays of other shapes.

    Source: Gupta, "On some multiple decision (selection and ranking) rules", 1965; Hsu,
    "Simultaneous confidence intervals for all distances from the 'best'", 1981.

    Example:
        >>> confidence_set([[1.0, 1.1, 0.9], [1.0, 1.2, 1.1], [3.0, 3.1, 2.9]], "lowest")
        [True, True, False]
    """
    sign = SIGNS[check_name("best", best, SIGNS)]
    if not 0 < level < 1:
        raise ValueError(f"level: expected a probability between 0 and 1, got {level}")
    values = [sign * np.asarray(setting, dtype=float) for setting in settings]
    _check(values)
    p_values = _paired(values) if values[0].ndim == 2 else _over_seeds(values)
    smallest = (1 - level) / (len(values) - 1)
    return [bool(of_others.min() >= smallest) for of_others in p_values]


def _check(values: list[np.ndarray]) -> None:
    """Check that there are two settings or more, of two seeds or more, and of one kind."""
    shapes = [array.shape for array in values]
    kinds = {array.ndim for array in values}
    if len(values) < 2 or kinds not in ({1}, {2}) or min(shape[0] for shape in shapes) < 2:
        raise ValueError(
            "settings: expected two or more, all (S, N) or all (S,), of two seeds or more,"
            f" got {shapes}"
        )
    if not all(np.isfinite(array).all() for array in values):
        raise ValueError("settings: expected finite values, got NaN or infinite ones")


def _paired(values: list[np.ndarray]) -> np.ndarray:
    """Return the p-values (K, K) for the column's setting being no better than the row's."""
    p_values = np.ones((len(values), len(values)))
    for row, one in enumerate(values):
        for column, other in enumerate(values):
            if row != column:
                found = paired_difference(other, one)
                p_values[row, column] = _one_sided(found.mean, found.standard_error, found.degrees)
    return p_values


def _over_seeds(values: list[np.ndarray]) -> np.ndarray:
    """Return the same p-values from the seeds alone."""
    counts = np.array([len(array) for array in values])
    means = np.array([array.mean() for array in values])
    degrees = int((counts - 1).sum())
    variance = sum(np.square(array - array.mean()).sum() for array in values) / degrees
    p_values = np.ones((len(values), len(values)))
    for row in range(len(values)):
        for column in range(len(values)):
            if row != column:
                error = np.sqrt(variance / counts[row] + variance / counts[column])
                p_values[row, column] = _one_sided(means[column] - means[row], error, degrees)
    return p_values


def _one_sided(difference: float, error: float, degrees: float) -> float:
    """Return the p-value of Student's t for a difference that is not positive."""
    if error == 0:
        return 0.0 if difference > 0 else 1.0
    return float(stats.t.sf(difference / error, degrees))
