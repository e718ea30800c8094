"""The ELBO of images and its two terms, the rate and the distortion."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vae.devices import numbers_at_once
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

_PIXELS_AT_ONCE = 2**16  # per batch on a CPU: 0.2 GB for a family that needs 3 kB per pixel
_MOST_NUMBERS = 768  # per pixel, of any family


def chunks(images: Tensor, numbers_per_pixel: int = _MOST_NUMBERS) -> Iterator[Tensor]:
    """Return the images in batches small enough to encode and to decode.

    Args:
        numbers_per_pixel: those of the likelihood, if it scores the batches.
    """
    pixels = _PIXELS_AT_ONCE
    if images.device.type == "cuda":
        pixels = numbers_at_once(images.device) // numbers_per_pixel
    return iter(images.split(max(1, pixels // images[0].numel())))


@contextmanager
def fixed_weights(model: torch.nn.Module) -> Iterator[None]:
    """Record no gradients of weights inside a `with` block, where only those of codes are asked for."""
    wanted = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        model.requires_grad_(False)
        yield
    finally:
        for weight in wanted:
            weight.requires_grad_()


def each_given(model: VAE, batches: Iterable[Tensor]) -> Iterator[tuple[VAE, Tensor]]:
    """Return each batch of images, and the model with the labels of these images.

    A model that takes no labels, or has one for all images, is the same for every batch.

    Raises:
        ValueError: the model has more labels than there are images, or fewer.
    """
    labels, start = model.labels, 0
    if labels is None or len(labels) == 1:
        yield from ((model, x) for x in batches)
        return
    for x in batches:
        end = start + len(x)
        yield model.given(labels[start:end]), x
        start = end
    if len(labels) != start:
        raise ValueError(f"labels: expected {start}, one for each image, got {len(labels)}")


def rate_of(q: TorchDistribution, p: TorchDistribution, z: Tensor) -> Tensor:
    """Return KL(q || p) per image, nats, (..., N).

    It is in closed form where torch knows one, and log q - log p at draws z of q elsewhere, one for
    each draw. It is NaN if q is a point.
    """
    if isinstance(getattr(q, "base_dist", q), dist.Delta):
        return torch.full_like(q.mean[..., 0], torch.nan)
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return q.log_prob(z) - p.log_prob(z)


def component_rates(q: TorchDistribution, p: TorchDistribution) -> Tensor | None:
    """Return KL(q_i || p_i) of each component in closed form, nats, (..., latent_dim).

    A component has one where both distributions are Normals of independent components. A Normal with
    a covariance counts by its marginals. The result is None where there is no such rate.
    """
    if not isinstance(getattr(p, "base_dist", None), dist.Normal):
        return None
    if isinstance(q, dist.MultivariateNormal):
        q = dist.Normal(q.loc, q.stddev).to_event(1)
    if not isinstance(getattr(q, "base_dist", None), dist.Normal):
        return None
    return kl_divergence(q.base_dist, p.base_dist)


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
def elbo_terms(model: VAE, images: Tensor, num_samples: int = 1, seed: int = 0) -> ElboTerms:
    """Return the rate, and the distortion as an average over draws of z.

    The rate is in closed form where there is one, else an average over the same draws.

    The distortion uses the measure by which the model's likelihood scores images.

    Args:
        model: a model in `eval` mode; a conditional one with the labels of the images.
        images: (N, C, H, W).
        num_samples: the number of draws of z per image.
        seed: the seed of the draws. Equal seeds compare models on the same noise.
    """
    found, distortions = [], []
    with seeded(seed, images.device):
        p = model.prior
        batches = chunks(images, numbers_per_pixel=model.likelihood.numbers_per_pixel)
        for vae, x in each_given(model, batches):
            q = vae.encode(x)
            draws = [q.rsample() for _ in range(num_samples)]
            log_probs = [vae.decode(z).log_prob(x) for z in draws]
            found.append(torch.stack([rate_of(q, p, z) for z in draws]).mean(0))
            distortions.append(-torch.stack(log_probs).mean(0))
    return ElboTerms(torch.cat(found), torch.cat(distortions))
