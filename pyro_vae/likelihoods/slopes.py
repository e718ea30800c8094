"""Log probabilities of bins with their slopes, where the entries of tensors can be read.

The numbers are those of `special` to the rounding of sums, from fewer operations.
"""

import math
from collections.abc import Callable

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from pyro_vae.likelihoods.special import (
    LOG_2PI,
    NODES,
    STEEPEST,
    WEIGHTS,
    log_normal_bin,
    log_normal_sf,
)

_FAR = 12.0  # up to here erfc has lost no digits in float32

# Four nodes are exact to rounding where the log density is less steep than for eight.
FEW = [v[2:].tolist() for v in leggauss(4)]
FLAT = {torch.float32: 0.8, torch.float64: 0.06}


def with_slope(f: Callable[..., Tensor], t: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(t, ...) and its derivative by t, of a function of each entry; 0 under `no_grad`."""
    if not torch.is_grad_enabled():
        return f(t, *others), torch.zeros_like(t)
    with torch.enable_grad():
        t = t.detach().requires_grad_()
        value = f(t, *others)
        (slope,) = torch.autograd.grad(value.sum(), t)
    return value.detach(), slope


def normal_tail_with_slope(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return `log_normal_sf` and its derivative; where no t lies far out, erfc is enough."""
    sf = torch.erfc(t / math.sqrt(2)).div_(2)
    slope = t.square().div_(-2).sub_(LOG_2PI / 2).exp_().div_(sf).neg_()
    value, far = sf.log_(), t > _FAR
    if far.any():
        value[far], slope[far] = with_slope(log_normal_sf, t[far])
    return value, slope


def normal_bin_with_slope(t: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Return `log_normal_bin` and its derivative by t."""
    if t.numel() == 0:
        return t.clone(), t.clone()
    steepest, widest = (t * h).max(), h.max()
    if not (widest < 0.5 and steepest < STEEPEST[t.dtype]):
        return with_slope(log_normal_bin, t, h)
    ends, weights = FEW if max(steepest, 2 * widest) < FLAT[t.dtype] else (NODES, WEIGHTS)
    nodes = h.unsqueeze(-1) * h.new_tensor(ends)
    densities = torch.exp(-(nodes**2) / 2) * h.new_tensor(weights) / 2
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
    return value, tilt.div_(mean).sub_(t)
