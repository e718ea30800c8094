"""Log probabilities of bins with their slopes, where the entries of tensors can be read.

The numbers are those of `special` to the rounding of sums, from fewer operations.
"""

import math
from collections.abc import Callable

import torch
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


def with_slope(f: Callable[..., Tensor], t: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(t, ...) and its derivative by t, of a function of each entry."""
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
    if not ((h < 0.5) & (t * h < STEEPEST[t.dtype])).all():
        return with_slope(log_normal_bin, t, h)
    nodes = h.unsqueeze(-1) * h.new_tensor(NODES)
    densities = torch.exp(-(nodes**2) / 2) * h.new_tensor(WEIGHTS) / 2
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
