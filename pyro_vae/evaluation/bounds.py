"""How likely the images are: the ELBO with its two parts, and the importance-weighted bound."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evaluation.latents import chunks, component_rates
from pyro_vae.randomness import seeded
from pyro_vae.vae import VAE, LatentImageModel


class ElboTerms(NamedTuple):
    """Per image, nats, beta = 1: (N,) each. The rate is NaN where the posterior is a point."""

    rate: Tensor
    distortion: Tensor

    @property
    def elbo(self) -> Tensor:
        return -(self.rate + self.distortion)


@torch.no_grad()
def elbo_terms(
    model: LatentImageModel, images: Tensor, num_samples: int = 1, seed: int = 0
) -> ElboTerms:
    """Rate in closed form, distortion averaged over draws of z, as the likelihood scores images.

    Args:
        model: in `eval` mode.
        images: (N, C, H, W).
        num_samples: draws of z per image.
        seed: of the draws; equal seeds let models be compared on the same noise.
    """
    rates, distortions = [], []
    with seeded(seed, images.device):
        for x in chunks(images):
            q = model.encode(x)
            log_probs = [model.decode(q.rsample()).log_prob(x) for _ in range(num_samples)]
            rates.append(component_rates(q).sum(-1))
            distortions.append(-torch.stack(log_probs).mean(0))
    return ElboTerms(torch.cat(rates), torch.cat(distortions))


@torch.no_grad()
def importance_bound(vae: VAE, images: Tensor, num_samples: int, seed: int = 0) -> Tensor:
    """A lower bound on log P(x) over the grey levels, nats per image (N,); it rises with K.

    `log 1/K sum_k P(x | z_k) p(z_k) / q(z_k | x)`, z_k ~ q, K = `num_samples`.

    Args:
        vae: in `eval` mode.
        images: (N, C, H, W), on the grid of grey levels.

    Raises:
        ValueError: the family is no likelihood of such data.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    bounds = []
    with seeded(seed, images.device):
        for x in chunks(images, num_samples):
            q = vae.encode(x)
            z = q.rsample((num_samples,))
            log_weights = vae.decode_levels(z).log_prob(x) + vae.prior.log_prob(z) - q.log_prob(z)
            bounds.append(torch.logsumexp(log_weights, 0) - math.log(num_samples))
    return torch.cat(bounds)


def bits_per_dim(log_probability: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Nats per image (N,) of log probability as bits per pixel and channel."""
    return -log_probability / (math.prod(image_shape) * math.log(2))
