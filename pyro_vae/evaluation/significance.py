"""Tests of significance, of many hypotheses at once, and of differences between settings.

Settings are compared on the same images, for new images and new seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.names import check_name


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


# --- differences of settings ----------------------------------------------------------------------


class Difference(NamedTuple):
    """The mean of one setting minus that of another, for new images and new seeds.

    Without a second seed of both settings there is no error (NaN), since nothing is known of what
    another seed would give.
    """

    mean: float
    standard_error: float
    degrees: float  # of freedom, of Student's t
    p_value: float  # for no difference, two-sided

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the difference."""
        reach = stats.t.ppf(0.5 + level / 2, self.degrees) * self.standard_error
        return self.mean - reach, self.mean + reach


def paired_difference(one: ArrayLike, other: ArrayLike) -> Difference:
    """Return the difference of two settings on the same images, whatever their variances of seeds.

    The variance of the difference has three parts, which add up: that of images, by the differences
    of each image's means over seeds; and that of seeds, of each setting, by the seeds' means over
    images. What images have in common drops out of the first. The degrees of freedom are those of
    the setting with fewer seeds: with two seeds there is one, and little is significant. The level
    then holds for all variances.

    Args:
        one, other: (S, N) and (S', N), a measure for each of the setting's seeds and for each image,
            in the same order of images; or (S,) and (S',), a number for each seed.

    Raises:
        ValueError: other shapes, or values that are not finite.

    Source: Mickey and Brown, "Bounds on the distribution functions of the Behrens-Fisher statistic",
    1966.

    Example:
        >>> one, other = [[1.0, 2.0, 3.0], [1.1, 2.1, 3.1]], [[0.0, 1.1, 1.9], [0.1, 1.0, 2.0]]
        >>> found = paired_difference(one, other)
        >>> round(found.mean, 3), round(found.p_value, 3)
        (1.033, 0.038)
    """
    pairs = _differences(_checked([one, other]))
    return Difference(*(float(values[0, 1]) for values in pairs))


def all_differences(settings: list[ArrayLike]) -> list[list[Difference | None]]:
    """Return the matrix of differences of all settings, row minus column, None on its diagonal.

    A few seeds do not tell how much seeds of a setting vary, and the smallest of many such variances
    is far too small. The variance of a setting's seeds is therefore its own or the one pooled over
    all settings, whichever is larger, with the degrees of freedom of the pooled one. The p-values are
    adjusted for the number of pairs by Holm's method, over those that have one, and are no smaller
    than that of the pair by itself (`paired_difference`), which needs no equal variances. Three seeds
    are the least with which much is significant. `benchmarks/statements.py` prints the error rates.

    Args:
        settings: (S, N) each, or all (S,), as in `paired_difference`.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    values = _checked(settings)
    alone, pooled = _differences(values), _differences(values, pooled=True)
    adjusted, below = np.full_like(pooled.p_value, np.nan), np.tril_indices(len(values), -1)
    p_values = pooled.p_value[below]
    known = np.isfinite(p_values)
    p_values[known] = holm(p_values[known])
    adjusted[below] = np.maximum(p_values, alone.p_value[below])
    adjusted.T[below] = adjusted[below]
    cells = np.stack([*pooled[:3], adjusted], -1).tolist()
    return [
        [None if i == j else Difference(*cell) for j, cell in enumerate(row)]
        for i, row in enumerate(cells)
    ]


def two_way_mean(values: ArrayLike) -> Estimate:
    """Return the mean of a measure (S, N) over seeds and images, with an error that has both.

    A single seed has no error (NaN), as in `Difference`.
    """
    values = np.asarray(values, dtype=float)
    images = values.mean(0).var(ddof=1) / values.shape[1]
    return Estimate(float(values.mean()), float(np.sqrt(images + _of_seeds(values))))


# --- the best of several settings -----------------------------------------------------------------


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

    Settings are compared as in `all_differences`, so that the pair by itself must also show at
    1 - level, one-sided, that one is better.

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
    values = [sign * array for array in _checked(settings)]
    if len(values) < 2 or min(map(len, values)) < 2:
        shapes = [array.shape for array in values]
        raise ValueError(f"settings: expected two or more, of two seeds or more, got {shapes}")
    alone, pooled = _differences(values), _differences(values, pooled=True)
    p_values = np.maximum(alone.p_value, pooled.p_value * (len(values) - 1)) / 2
    beaten = (alone.mean > 0) & (p_values < 1 - level)  # the column by the row
    return (~beaten.any(0)).tolist()


# --- all pairs -------------------------------------------------------------------------------------


class _Pairs(NamedTuple):
    """The fields of `Difference` for all pairs, (K, K), row minus column."""

    mean: np.ndarray
    standard_error: np.ndarray
    degrees: np.ndarray
    p_value: np.ndarray


def _differences(values: list[np.ndarray], pooled: bool = False) -> _Pairs:
    """Return the differences of all pairs.

    Args:
        pooled: raise variances of seeds to the pooled one, whose degrees of freedom all pairs have.
    """
    counts = np.array([len(array) for array in values])
    seeds, degrees = np.array([_of_seeds(v) for v in values]), np.minimum.outer(counts, counts) - 1
    if pooled and (several := counts > 1).any():
        total = (counts - 1).sum()
        shared = (seeds * counts * (counts - 1))[several].sum() / total
        seeds, degrees = np.maximum(seeds, shared / counts), np.full_like(degrees, total)
    means = np.array([array.mean() for array in values])
    variance = seeds[:, None] + seeds
    if values[0].ndim == 2:
        images = np.stack([array.mean(0) for array in values])
        images -= images.mean(0)  # what they have in common would round the rest away
        covariance = np.atleast_2d(np.cov(images)) / images.shape[1]
        own = covariance.diagonal()
        variance = variance + np.maximum(own[:, None] + own - 2 * covariance, 0)
    mean, error = means[:, None] - means, np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where((error == 0) & (mean == 0), 0, np.abs(mean) / error)
    return _Pairs(mean, error, degrees, 2 * stats.t.sf(t, degrees))


def _of_seeds(values: np.ndarray) -> float:
    """Return the variance of the mean over seeds, NaN for one seed."""
    means = values.mean(1) if values.ndim == 2 else values
    return means.var(ddof=1) / len(means) if len(means) > 1 else np.nan


def _checked(settings: Sequence[ArrayLike]) -> list[np.ndarray]:
    """Return the arrays of settings, after a check that they can be compared."""
    values = [np.asarray(setting, dtype=float) for setting in settings]
    ends = {(array.ndim, array.shape[1:]) for array in values}
    if len(ends) != 1 or values[0].ndim not in (1, 2) or values[0].shape[1:] == (1,):
        shapes = " and ".join(str(array.shape) for array in values)
        raise ValueError(
            f"settings: expected all (S, N) of the same images, or all (S,), got {shapes}"
        )
    if not all(np.isfinite(array).all() for array in values):
        raise ValueError("settings: expected finite values, got NaN or infinite ones")
    return values
