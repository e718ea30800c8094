"""Grey levels under a Normal: log probabilities of bins and of tails, and their slopes.

Those at the top are for graphs, and for any bins. Those below them read the entries of tensors; the
numbers are the same to the rounding of sums, from fewer operations.
"""

import math

import torch
from numpy.polynomial.chebyshev import cheb2poly, chebinterpolate
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from pyro_vae.likelihoods.derivatives import with_derivatives
from pyro_vae.likelihoods.special import LOG_2PI, polynomial

NODES = {  # and weights of quadrature from 0 to 1, which make it exact for flat bins to rounding
    torch.float32: list(zip(*(v[2:].tolist() for v in leggauss(4)))),
    torch.float64: list(zip(*(v[4:].tolist() for v in leggauss(8)))),
}


def _erfcx_coefficients(degree: int) -> list[float]:
    """Return those of the polynomial in (x - 2) / (x + 2) that is (1 + 2 x) erfcx(x) for x >= 0."""

    def scaled(t):
        x = 2 * (1 + t) / (1 - t)
        return (1 + 2 * x) * torch.special.erfcx(torch.from_numpy(x)).numpy()

    return cheb2poly(chebinterpolate(scaled, degree)).tolist()


_ERFCX = {torch.float64: _erfcx_coefficients(24), torch.float32: _erfcx_coefficients(13)}


def erfcx(x: Tensor) -> Tensor:
    """Return exp(x^2) erfc(x) for x >= 0 (inductor computes torch's own number by number).

    Source: Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in
    0 <= x < infinity", 1981, https://doi.org/10.1090/S0025-5718-1981-0595058-X.
    """
    return polynomial(_ERFCX[x.dtype], (x - 2) / (x + 2)) / (1 + 2 * x)


def log_normal_sf(t: Tensor) -> Tensor:
    """Return the log survival function of the standard Normal.

    Its derivative is minus the hazard, which is exact in the far tail as well. That of torch's own
    `log_ndtr` is wrong there (by a factor of 6 at 10,000 sigma in float32).
    """
    one = torch.ones_like(t)
    return log_normal_bins(t, torch.zeros_like(t), one, one.bool())


FLAT = 0.5  # half widths h, and t h, up to here are for quadrature, larger ones for differences


def log_normal_bin(t: Tensor, h: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of a standard Normal T, for t >= 0."""
    return log_normal_bins(t, h, torch.zeros_like(t), torch.zeros_like(t, dtype=torch.bool))


def log_normal_bins(t: Tensor, h: Tensor, sign: Tensor, at_end: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of a standard Normal T, or of a tail where a bin is at an end.

    Args:
        t, h: the middle and half the width of each bin.
        sign: 1 where the tail goes upwards from t - h, -1 where it goes downwards from t + h.
        at_end: whether a bin is a tail.
    """
    value, by_t, by_h = normal_bins_with_slopes(t.detach(), h.detach(), sign, at_end)
    return with_derivatives(value, [t, h], lambda: [by_t, by_h])


def normal_bins_with_slopes(
    t: Tensor, h: Tensor, sign: Tensor, at_end: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `log_normal_bins` and its derivatives by t and by h.

    Most probabilities are density(a) times a difference of erfcx, with the nearer end a of the bin;
    those of bins over the mode are what both tails leave. Differences of narrow and flat bins would
    cancel. There it is Gauss-Legendre quadrature about the middle, whose nodes -u and u have a mean
    density of `exp(-u^2 / 2) cosh(u t)` times the middle's.
    """
    size = t.abs()
    root = torch.exp(-size * h)
    near = torch.where(at_end, sign * t - h, size - h)
    fall = torch.where(at_end, 0.0, root * root)  # of the density, from the near end to the other
    a, b = erfcx(near.abs() / math.sqrt(2)), fall * erfcx((size + h) / math.sqrt(2))
    beside, density = near > 0, torch.exp(-near * near / 2)
    left = torch.where(beside, (a - b) / 2, 1 - density * (a + b) / 2)
    ratio = torch.where(beside, 1.0, density) / left / math.sqrt(2 * math.pi)
    by_t, by_h = -ratio * (1 - fall), ratio * (1 + fall)
    flat = ~at_end & (h < FLAT) & (size * h < FLAT)
    mean, tilt = torch.zeros_like(t), torch.zeros_like(t)
    for s, weight in NODES[t.dtype]:
        u = torch.where(flat, h, 0.0) * s
        growth = torch.exp(u * size)
        share = weight / 2 * torch.exp(-u * u / 2)
        mean = mean + share * (growth + 1 / growth)
        tilt = tilt + share * u * (growth - 1 / growth)
    middle = torch.exp(-h * h / 2) * (root + 1 / root) / (2 * h)
    exponent = torch.where(beside, -near * near / 2, 0.0)
    exponent = torch.where(flat, (2 * h).log() - LOG_2PI / 2 - size * size / 2, exponent)
    value = torch.where(flat, mean, left).log() + exponent
    by_t = torch.where(flat, tilt / mean - size, by_t) * torch.where(at_end, sign, t.sign())
    return value, by_t, torch.where(flat, middle / mean, by_h)


# --- where entries can be read -----------------------------------------------------------------

_FAR = 12.0  # up to here erfc has lost no digits in float32


def normal_tail_with_slope(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return `log_normal_sf` and its derivative; where no t lies far out, erfc is enough."""
    sf = torch.erfc(t / math.sqrt(2)).div_(2)
    slope = t.square().div_(-2).sub_(LOG_2PI / 2).exp_().div_(sf).neg_()
    value, far = sf.log_(), t > _FAR
    if far.any():
        one = torch.ones_like(t[far])
        value[far], slope[far], _ = normal_bins_with_slopes(t[far], 0 * one, one, one.bool())
    return value, slope


def normal_bin_with_slope(t: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return `log_normal_bin` and its derivative by t; where all bins are flat, nodes are enough."""
    ends, weights = h.new_tensor(NODES[t.dtype]).unbind(-1)
    nodes = h.unsqueeze(-1) * ends
    densities = torch.exp(-(nodes**2) / 2) * weights / 2
    pairs = zip(nodes.unbind(-1), densities.unbind(-1))
    if h.ndim == 0:
        pairs = zip(nodes.tolist(), densities.tolist())  # numbers save small operations
    mean, tilt = torch.zeros_like(t), torch.zeros_like(t)
    for u, density in pairs:
        growth = torch.exp(u * t)
        decay = 1 / growth
        mean += density * (growth + decay)
        tilt += density * u * growth.sub_(decay)
    value = mean.log().sub_(t.square() / 2).add_((2 * h).log() - LOG_2PI / 2)
    slope = tilt.div_(mean).sub_(t)
    steep = ~((h < FLAT) & (t * h < FLAT))
    if steep.any():
        h = h.expand_as(t)[steep]
        inside = torch.zeros_like(h, dtype=torch.bool)
        value[steep], slope[steep], _ = normal_bins_with_slopes(t[steep], h, h, inside)
    return value, slope
