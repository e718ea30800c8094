"""Tests of many components at once."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values adjusted for their number: the chance that any true hypothesis is rejected is kept.

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
    """Whether the columns of independent rows z (N, D) are standard Normal, by Kolmogorov and Smirnov.

    Their distances `sup_t |share of z under t - Phi(t)|`, (D,), and the p-values of these, (D,).
    """
    tests = [stats.kstest(column, "norm") for column in np.asarray(z).T]
    return np.array([t.statistic for t in tests]), np.array([t.pvalue for t in tests])


def uniform_rank_p_values(ranks: ArrayLike, num_draws: int, num_bins: int) -> np.ndarray:
    """Chi-square p-values, one per column of ranks (N, D) in 0 ... num_draws, of uniform ranks.

    Raises:
        ValueError: bins that do not divide the num_draws + 1 possible ranks.
    """
    if (num_draws + 1) % num_bins:
        raise ValueError(f"num_bins: expected a divisor of {num_draws + 1} ranks, got {num_bins}")
    bins = np.asarray(ranks) // ((num_draws + 1) // num_bins)
    counts = (np.bincount(column, minlength=num_bins) for column in bins.T)
    return np.array([stats.chisquare(count).pvalue for count in counts])
