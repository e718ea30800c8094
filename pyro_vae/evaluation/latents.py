"""What each latent component does."""

from collections.abc import Iterator

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vae.vae import LatentImageModel

ACTIVE_VARIANCE = 0.01
COLLAPSED_RATE = 0.01
_PIXELS_AT_ONCE = 2**16  # decoded at a time: 0.2 GB where a family needs 3 kB for each


def chunks(images: Tensor, copies: int = 1) -> Iterator[Tensor]:
    """The images in pieces small enough to encode, and to decode `copies` times, at once."""
    return iter(images.split(max(1, _PIXELS_AT_ONCE // (images[0].numel() * copies))))


def component_rates(q: TorchDistribution) -> Tensor:
    """KL(q_i || N(0, 1)) of each component in closed form, nats, (..., latent_dim); NaN for points."""
    q = q.base_dist
    if isinstance(q, dist.Delta):
        return torch.full_like(q.v, torch.nan)
    return kl_divergence(q, dist.Normal(torch.zeros_like(q.loc), torch.ones_like(q.scale)))


@torch.no_grad()
def rate_per_component(model: LatentImageModel, images: Tensor) -> Tensor:
    """KL(q(z_i|x) || p(z_i)) in closed form, nats, (N, latent_dim); NaN where q is a point."""
    return torch.cat([component_rates(model.encode(x)) for x in chunks(images)])


def collapsed_units(rates: Tensor) -> int:
    """How many components carry less than 0.01 nats on average; rates (N, latent_dim)."""
    return int((rates.mean(0) < COLLAPSED_RATE).sum())


@torch.no_grad()
def active_units(model: LatentImageModel, images: Tensor) -> int:
    """How many components have Var_x(E_q[z_i]) > 0.01.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    means = torch.cat([model.encode(x).mean for x in chunks(images)])
    return int((means.var(0, correction=0) > ACTIVE_VARIANCE).sum())
