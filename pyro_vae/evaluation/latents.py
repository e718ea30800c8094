"""What each latent component does."""

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vae.vae import LatentImageModel

ACTIVE_VARIANCE = 0.01
COLLAPSED_RATE = 0.01


@torch.no_grad()
def rate_per_component(model: LatentImageModel, images: Tensor) -> Tensor:
    """KL(q(z_i|x) || p(z_i)) in closed form, nats, (N, latent_dim); NaN where q is a point."""
    q = model.encode(images).base_dist
    if isinstance(q, dist.Delta):
        return torch.full_like(q.v, torch.nan)
    return kl_divergence(q, dist.Normal(torch.zeros_like(q.loc), torch.ones_like(q.scale)))


def collapsed_units(rates: Tensor) -> int:
    """How many components carry less than 0.01 nats on average; rates (N, latent_dim)."""
    return int((rates.mean(0) < COLLAPSED_RATE).sum())


@torch.no_grad()
def active_units(model: LatentImageModel, images: Tensor) -> int:
    """How many components have Var_x(E_q[z_i]) > 0.01.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    return int((model.encode(images).mean.var(0, correction=0) > ACTIVE_VARIANCE).sum())
