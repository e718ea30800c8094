"""The ELBO of images and its two terms, the rate and the distortion."""

from collections.abc import Iterator
from typing import NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vae.devices import numbers_at_once
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.randomness import seeded

_PIXELS_AT_ONCE = 2**16  # per batch on a CPU: 0.2 GB for a family that needs 3 kB per pixel
_MOST_NUMBERS = 768  # per pixel, of any family


def chunks(
    images: Tensor, copies: int = 1, numbers_per_pixel: int = _MOST_NUMBERS
) -> Iterator[Tensor]:
    """Return the images in batches small enough to encode, and to decode `copies` times.

    Args:
        numbers_per_pixel: those of the likelihood, if it scores the batches.
    """
    pixels = _PIXELS_AT_ONCE
    if images.device.type == "cuda":
        pixels = numbers_at_once(images.device) // numbers_per_pixel
    return iter(images.split(max(1, pixels // (images[0].numel() * copies))))


def component_rates(q: TorchDistribution) -> Tensor:
    """Return KL(q_i || N(0, 1)) of each component in closed form, nats, (..., latent_dim).

    The result is NaN if q is a point.
    """
    q = q.base_dist
    if isinstance(q, dist.Delta):
        return torch.full_like(q.v, torch.nan)
    return kl_divergence(q, dist.Normal(torch.zeros_like(q.loc), torch.ones_like(q.scale)))


class ElboTerms(NamedTuple):
    """The terms of the ELBO per image, nats at beta = 1, (N,) each.

    The rate is NaN if the posterior is a point.
    """

    rate: Tensor
    distortion: Tensor

    @property
    def elbo(self) -> Tensor:
        return -(self.rate + self.distortion)


@torch.no_grad()
def elbo_terms(
    model: LatentImageModel, images: Tensor, num_samples: int = 1, seed: int = 0
) -> ElboTerms:
    """Return the rate in closed form, and the distortion as an average over draws of z.

    The distortion uses the measure by which the model's likelihood scores images.

    Args:
        model: a model in `eval` mode.
        images: (N, C, H, W).
        num_samples: the number of draws of z per image.
        seed: the seed of the draws. Equal seeds compare models on the same noise.
    """
    rates, distortions = [], []
    with seeded(seed, images.device):
        for x in chunks(images, numbers_per_pixel=model.likelihood.numbers_per_pixel):
            q = model.encode(x)
            log_probs = [model.decode(q.rsample()).log_prob(x) for _ in range(num_samples)]
            rates.append(component_rates(q).sum(-1))
            distortions.append(-torch.stack(log_probs).mean(0))
    return ElboTerms(torch.cat(rates), torch.cat(distortions))
