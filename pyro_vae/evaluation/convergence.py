"""Where a learning curve ends: converged, still climbing, past its best, or too noisy to tell."""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from pyro_vae.evaluation.estimates import LEFT_BITS, Estimate

FEWEST = 10  # epochs from which a trend is read
SHARES = (10, 4, 2)  # of the epochs, from which trends are read: the last tenth, quarter and half
LEVEL = 0.01  # of the three trends together; it is 5% where neighbours are correlated by 0.8
FEWEST_DEGREES = 6.0  # of freedom, by simulation; long correlations leave many steps in few epochs
BLOCK = (15, 25)  # epochs of a block, about which noise is measured
CORRELATIONS = np.linspace(0, 0.97, 98)  # of neighbouring epochs


class End(NamedTuple):
    """The end of a learning curve: a word, the last tenth's movement, and what is left to gain.

    Both are in the units of the curve. What is left is what the curve would still gain if it went on
    like a - b / epoch, which is nine times what its last tenth moved it; a negative one is a fall.
    """

    word: str  # `converged`, `still climbs`, `past its best` or `cannot tell`
    moved: Estimate
    left: Estimate


def end_of_curve(curve: Sequence[float], dimensions: int) -> End | None:
    """Return where the curve of an ELBO ends, or None for under 20 epochs.

    Lines in 1 / epoch are fitted to the last tenth, quarter and half of the epochs (to ten at least).
    The curve still climbs or is past its best if the first significant one says so, and more is left
    than 0.005 bits per dimension, half of the last digit of bits as they are published. It has
    converged if none says so and the 95% interval of what is left, by the last half, lies within
    that. Else it cannot be told.

    Errors allow for noise that is correlated from epoch to epoch, an autoregression of order one. It
    is measured about parabolas in blocks of the last half, or about lines in blocks of the epochs of
    the trend if that tells more. One standard error is added to the correlation of neighbours.
    `benchmarks/statements.py` prints how often each word is said of curves with a known end.

    Args:
        curve: the ELBO after each epoch, nats per image.
        dimensions: the number of pixels and channels of an image.

    Source: Cochrane and Orcutt, "Application of least squares regression to relationships containing
    auto-correlated error terms", 1949.

    Example:
        >>> end_of_curve([-100 - 50 / epoch for epoch in range(1, 101)], 784).word
        'converged'
        >>> end_of_curve([-100 - 5000 / epoch for epoch in range(1, 101)], 784).word
        'still climbs'
    """
    if len(curve) < 2 * FEWEST:
        return None
    values, negligible = np.asarray(curve, dtype=float), LEFT_BITS * dimensions * math.log(2)
    sizes = sorted({max(FEWEST, len(values) // share) for share in SHARES})
    of_half, level = _noise(values[-sizes[-1] :], degree=2), LEVEL / len(sizes)
    fits = []
    for size in sizes:
        noises = [of_half, _noise(values[-size:], degree=1)] if size < sizes[-1] else [of_half]
        each = [_left(values, size, noise) for noise in noises]
        fits.append(min(each, key=lambda fit: fit.reach(level)))
    moved = Estimate(fits[0].left.mean / 9, fits[0].left.standard_error / 9)
    for fit in fits:
        if abs(fit.left.mean) > max(fit.reach(level), negligible):
            word = "still climbs" if fit.left.mean > 0 else "past its best"
            return End(word, moved, fit.left)
    is_known = abs(fit.left.mean) + fit.reach(0.05) <= negligible
    return End("converged" if is_known else "cannot tell", moved, fit.left)


class _Noise(NamedTuple):
    """Deviations of epochs from a trend: an autoregression of order one."""

    variance: float
    correlation: float  # of neighbours
    degrees: float  # of freedom of the variance


class _Fit(NamedTuple):
    """What is left to gain, with the degrees of freedom of its error."""

    left: Estimate
    degrees: float

    def reach(self, level: float) -> float:
        """Return half of the width of the interval that misses with a probability of `level`."""
        return float(stats.t.isf(level / 2, self.degrees)) * self.left.standard_error


def _left(values: np.ndarray, size: int, noise: _Noise) -> _Fit:
    """Return what is left to gain by the line in 1 / epoch that fits the last values best."""
    epochs = len(values)
    x = -epochs / np.arange(epochs - size + 1, epochs + 1)
    x -= x.mean()
    products = np.correlate(x, x, "full")[size - 1 :]  # at distances of 0, 1, ... epochs
    products[1:] *= 2 * noise.correlation ** np.arange(1, size)
    error = np.sqrt(noise.variance * max(products.sum(), 0.0)) / (x @ x)
    left = x @ values[-size:] / (x @ x)
    return _Fit(Estimate(round(float(left), 9), round(float(error), 9)), noise.degrees)


def _noise(values: np.ndarray, degree: int) -> _Noise:
    """Return the noise of values about a polynomial in each of several blocks.

    The fits make noise look smaller and whiter: its correlation is the one of which they would leave
    what is seen.
    """
    shortest, longest = BLOCK
    count = max(1, min(len(values) // shortest, max(5, len(values) // longest)))
    length = len(values) // count
    projection, squares, ratios = _left_by_fits(length, degree)
    residuals = values[-count * length :].reshape(count, length) @ projection
    total = float(np.square(residuals).sum())
    if total <= (1e-9 * np.abs(values).max()) ** 2 * len(values):  # rounding
        return _Noise(0.0, 0.0, count * length)
    ratio = float((residuals[:, 1:] * residuals[:, :-1]).sum()) / total
    ratio += math.sqrt((1 - ratio**2) / (count * length))
    correlation = float(np.interp(ratio, ratios, CORRELATIONS))
    variance = total / count / float(np.interp(correlation, CORRELATIONS, squares))
    alike = (1 + correlation) / (1 - correlation)  # epochs that count as one
    return _Noise(variance, correlation, max(count * length / alike - 2, FEWEST_DEGREES))


@cache
def _left_by_fits(length: int, degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what fits of a polynomial leave of noise of variance 1, for each of `CORRELATIONS`.

    It is the matrix that takes the fit away, the expected sum of squares that it leaves, and the
    expected sum of products of neighbours as a share of that.
    """
    basis, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, length), degree + 1))
    projection = np.eye(length) - basis @ basis.T
    lags = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    left = [projection @ correlation**lags @ projection for correlation in CORRELATIONS]
    squares = np.array([np.trace(matrix) for matrix in left])
    return projection, squares, np.array([np.trace(matrix, 1) for matrix in left]) / squares
