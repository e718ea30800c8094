"""Whether a measure rises or falls with a setting, over many runs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Trend(NamedTuple):
    """The relation of a measure to a setting, and the spread of the measure over repeats."""

    correlation: float  # of the ranks; 0 if the measure never varies
    p_value: float  # for no monotonic relation
    values: np.ndarray  # (V,) of the setting, rising; means and spreads are in this order
    means: np.ndarray
    spreads: np.ndarray  # standard deviations of the repeats

    @property
    def effect(self) -> float:
        """Return the largest mean minus the smallest."""
        return float(np.ptp(self.means))

    @property
    def spread(self) -> float:
        """Return the standard deviation of repeats, pooled over the values."""
        return float(np.sqrt(np.square(self.spreads).mean()))


def trend(x: ArrayLike, y: ArrayLike) -> Trend:
    """Test whether a measure y (N,) rises or falls with a setting x (N,), one run each.

    The test is Spearman's rank correlation over all runs, with a two-sided p-value (scipy's, by
    Student's t). The result also holds the mean and standard deviation of y at each value of x.

    Raises:
        ValueError: if the setting has fewer than two values, or one of them has fewer than two
            runs.

    Example:
        >>> betas = trend([1, 1, 4, 4], [0.1, 0.3, 0.7, 0.9])
        >>> round(betas.effect, 6), round(betas.spread, 6), round(betas.correlation, 3)
        (0.6, 0.141421, 0.894)
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    values, counts = np.unique(x, return_counts=True)
    if len(values) < 2 or counts.min() < 2:
        got = f"{len(values)} with {counts.min()} runs and more"
        raise ValueError(f"x: expected two values or more with two runs or more each, got {got}")
    groups = [y[x == value] for value in values]
    means = np.array([group.mean() for group in groups])
    spreads = np.array([group.std(ddof=1) for group in groups])
    rank = stats.spearmanr(x, y) if np.ptp(y) > 0 else None
    correlation, p_value = (float(rank.statistic), float(rank.pvalue)) if rank else (0.0, 1.0)
    return Trend(correlation, p_value, values, means, spreads)
