"""Families of likelihoods off their start, and outputs of a decoder for them."""

import torch

from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.likelihoods.base import LevelMass

FAMILIES = list(LIKELIHOODS)
# The families with log P of a level, by the number of levels, and those with a density.
MASSES = [(f, n) for f in FAMILIES for n in (2, 17, 256) if f != "bernoulli" or n == 2]
DENSITIES = [f for f in FAMILIES if f != "bernoulli" and not issubclass(LIKELIHOODS[f], LevelMass)]
PIXEL = (1, 1, 1)
EXTREME = [-50.0, -12.0, -3.0, -1.0, -0.1, 0.0, 0.3, 0.5, 0.9, 1.0, 2.0, 12.0, 50.0]


def build(name, shape=PIXEL, levels=256, score="density", dtype=torch.float64):
    """A family in `eval` mode; what it learns is moved off its start."""
    family = LIKELIHOODS[name](shape, levels, score).to(dtype).eval()
    with torch.no_grad():
        for p in family.parameters():
            p.add_(torch.randn_like(p) / 2)
    return family


def outputs_for(family, count=40, dtype=torch.float64):
    """Decoder outputs (N, channels, 1, 1): random ones, then all extremes mixed."""
    random = 3 * torch.randn(count, family.channels, 1, 1, dtype=dtype)
    rows = torch.randint(len(EXTREME), (count, family.channels, 1, 1))
    return torch.cat([random, torch.tensor(EXTREME, dtype=dtype)[rows]])


def grid(levels, dtype=torch.float64):
    """The grey levels as pixels."""
    return torch.arange(levels, dtype=dtype) / (levels - 1)


def log_masses(family, outputs):
    """(levels, N): log P of every grey level of a one-pixel image."""
    x = grid(family.levels, outputs.dtype).view(-1, 1, 1, 1, 1)
    return family.mass(outputs).log_prob(x)
