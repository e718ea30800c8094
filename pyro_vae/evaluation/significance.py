"""Tests of significance, and of many hypotheses at once."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p-values adjusted for their number by Holm's method.

    The probability of rejecting any true hypothesis then keeps its level.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def normal_tests(z: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Test by Kolmogorov and Smirnov whether the columns of z are standard Normal.

    It returns the distances `sup_t |share of z under t - Phi(t)|`, (D,), and their p-values, (D,).

    Args:
        z: (N, D), independent rows.
    """
    tests = [stats.kstest(column, "norm") for column in np.asarray(z).T]
    return np.array([t.statistic for t in tests]), np.array([t.pvalue for t in tests])


def mean_tests(values: ArrayLike, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Test by Student's t whether the columns of values have a given mean.

    It returns the standard errors of the column means, (D,), and the p-values, (D,).

    Args:
        values: (N, D), independent rows.
    """
    values = np.asarray(values)
    return stats.sem(values), np.atleast_1d(stats.ttest_1samp(values, mean).pvalue)


def detectable(errors: ArrayLike, num_tests: int, level: float = 0.05, power: float = 0.8):
    """Return the deviations of means that so many tests together find with the given power.

    It is that of a two-sided Normal test at `level / num_tests`, the strictest step of Holm's
    method.

    Args:
        errors: the standard errors of the means.
    """
    return np.asarray(errors) * (stats.norm.isf(level / num_tests / 2) + stats.norm.ppf(power))


def uniform_rank_p_values(ranks: ArrayLike, num_draws: int, num_bins: int) -> np.ndarray:
    """Return the chi-square p-values of uniform ranks, one per column.

    Args:
        ranks: (N, D), from 0 to num_draws.
        num_draws: the largest rank.
        num_bins: the number of bins of the test.

    Raises:
        ValueError: if the bins do not divide the num_draws + 1 possible ranks.
    """
    if (num_draws + 1) % num_bins:
        raise ValueError(f"num_bins: expected a divisor of {num_draws + 1} ranks, got {num_bins}")
    bins = np.asarray(ranks) // ((num_draws + 1) // num_bins)
    counts = (np.bincount(column, minlength=num_bins) for column in bins.T)
    return np.array([stats.chisquare(count).pvalue for count in counts])
