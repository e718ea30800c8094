"""Differences between settings that were measured on the same images, each with several seeds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.significance import holm


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
