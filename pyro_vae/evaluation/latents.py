"""The rate and the activity of each latent component."""

import torch
from torch import Tensor

from pyro_vae.evaluation.thresholds import ACTIVE_VARIANCE, COLLAPSED_RATE
from pyro_vae.models.elbo import chunks, component_rates
from pyro_vae.models.vae import LatentImageModel


@torch.no_grad()
def rate_per_component(model: LatentImageModel, images: Tensor) -> Tensor:
    """Return KL(q(z_i|x) || p(z_i)) in closed form, nats, (N, latent_dim); NaN if q is a point."""
    return torch.cat([component_rates(model.encode(x)) for x in chunks(images)])


def collapsed_units(rates: Tensor) -> int:
    """Return the number of components whose mean rate is less than 0.01 nats.

    Args:
        rates: (N, latent_dim), nats.
    """
    return int((rates.mean(0) < COLLAPSED_RATE).sum())


@torch.no_grad()
def mean_variance_per_component(model: LatentImageModel, images: Tensor) -> Tensor:
    """Return Var_x(E_q[z_i]), the variance of each component's mean over images, (latent_dim,)."""
    means = torch.cat([model.encode(x).mean for x in chunks(images)])
    return means.var(0, correction=0)


def active_units(model: LatentImageModel, images: Tensor) -> int:
    """Return the number of components with Var_x(E_q[z_i]) > 0.01.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    return int((mean_variance_per_component(model, images) > ACTIVE_VARIANCE).sum())
