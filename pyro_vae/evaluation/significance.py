"""Tests of significance: of many components, of settings on the same images, and of the best one."""

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


# --- settings on the same images ------------------------------------------------------------------


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
    """Return the difference of two settings on the same images.

    The variance of the difference has three parts, which add up: that of images, by the differences
    of each image's means over seeds; and that of seeds, of each setting, by the seeds' means over
    images. What images have in common drops out of the first. The degrees of freedom are
    Satterthwaite's.

    Args:
        one, other: (S, N) and (S', N), a measure for each of the setting's seeds and for each image,
            in the same order of images.

    Raises:
        ValueError: other shapes, or values that are not finite.

    Source: Satterthwaite, "An approximate distribution of estimates of variance components", 1946.

    Example:
        >>> found = paired_difference([[1.0, 2.0, 3.0], [1.1, 2.1, 3.1]], [[0.0, 1.1, 1.9]] * 2)
        >>> round(found.mean, 3), found.p_value < 0.01
        (1.05, True)
    """
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    shaped = one.ndim == other.ndim == 2 and one.shape[1] == other.shape[1] > 1
    if not (shaped and np.isfinite(one).all() and np.isfinite(other).all()):
        got = f"{one.shape} and {other.shape}" if not shaped else "NaN or infinite ones"
        raise ValueError(f"values: expected (S, N), (S', N) of the same images, got {got}")
    differences = one.mean(0) - other.mean(0)
    parts = [(differences.var(ddof=1) / len(differences), len(differences) - 1)]
    parts += [_of_seeds(values.mean(1)) for values in (one, other)]
    variance = sum(part for part, _ in parts)
    mean = float(differences.mean())
    if np.isnan(variance):
        return Difference(mean, np.nan, np.nan, np.nan)
    uncertainty = sum(part**2 / max(degrees, 1) for part, degrees in parts)
    degrees = variance**2 / uncertainty if uncertainty > 0 else float("inf")
    error = float(np.sqrt(variance))
    t = abs(mean) / error if error > 0 else (np.inf if mean else 0.0)
    return Difference(mean, error, float(degrees), float(2 * stats.t.sf(t, degrees)))


def two_way_mean(values: ArrayLike) -> Estimate:
    """Return the mean of a measure (S, N) over seeds and images, with an error that has both.

    For a single seed it is the error over images alone.
    """
    values = np.asarray(values, dtype=float)
    images = values.mean(0).var(ddof=1) / values.shape[1]
    seeds, _ = _of_seeds(values.mean(1))
    return Estimate(float(values.mean()), float(np.sqrt(images + np.nan_to_num(seeds))))


def _of_seeds(means: np.ndarray) -> tuple[float, int]:
    """Return the variance of a mean over seeds, and its degrees of freedom."""
    count = len(means)
    return (means.var(ddof=1) / count if count > 1 else float("nan")), count - 1


def all_differences(settings: list[ArrayLike]) -> list[list[Difference | None]]:
    """Return the matrix of differences of all settings, row minus column, None on its diagonal.

    The p-values are adjusted for the number of pairs by Holm's method, over those that have one.

    Args:
        settings: (S, N) each, as in `paired_difference`.
    """
    count = len(settings)
    matrix: list[list[Difference | None]] = [[None] * count for _ in range(count)]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    found = [paired_difference(settings[i], settings[j]) for i, j in pairs]
    known = [n for n, difference in enumerate(found) if np.isfinite(difference.p_value)]
    adjusted = holm([found[n].p_value for n in known])
    for n, p_value in zip(known, adjusted):
        found[n] = found[n]._replace(p_value=float(p_value))
    for (i, j), difference in zip(pairs, found):
        matrix[i][j], matrix[j][i] = difference, difference._replace(mean=-difference.mean)
    return matrix


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
    degrees = sum(len(array) - 1 for array in values)
    variance = sum(np.square(array - array.mean()).sum() for array in values) / degrees
    smallest = (1 - level) / (len(values) - 1)
    return [
        all(_no_better(v, one, variance, degrees) >= smallest for v in values if v is not one)
        for one in values
    ]


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


def _no_better(other: np.ndarray, one: np.ndarray, variance: float, degrees: float) -> float:
    """Return the one-sided p-value of Student's t for `other` being no better than `one`.

    Args:
        variance, degrees: those of numbers (S,) around the means of their settings.
    """
    if one.ndim == 2:
        difference, error, degrees, _ = paired_difference(other, one)
    else:
        difference = other.mean() - one.mean()
        error = np.sqrt(variance / len(one) + variance / len(other))
    if error == 0:
        return 0.0 if difference > 0 else 1.0
    return float(stats.t.sf(difference / error, degrees))
