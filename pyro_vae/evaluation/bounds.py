"""How likely the images are: the ELBO with its two parts, and the importance-weighted bound."""

import math
from collections.abc import Callable

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.models.vae import VAE
from pyro_vae.names import check_name
from pyro_vae.randomness import seeded

Progress = Callable[[float], None]
_NUMBERS_AT_ONCE = 2**22


def no_progress(fraction: float) -> None:
    """Says nothing."""


@torch.no_grad()
def importance_bound(
    vae: VAE,
    images: Tensor,
    num_samples: int,
    seed: int = 0,
    score: str = "levels",
    progress: Progress = no_progress,
    removed: Tensor | None = None,
) -> Tensor:
    """A lower bound on log P(x), nats per image (N,); it rises with K in expectation.

    `log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x)`, z_k ~ q, K = `num_samples`. Memory stays under
    about 0.2 GB whatever K is.

    Args:
        vae: in `eval` mode.
        images: (N, C, H, W), on the grid of grey levels where these are scored.
        score: `levels`, the measure that families share, or `density`, the family's own.
        progress: called with the fraction that is done.
        removed: (latent_dim,) marks components that are taken out of the model: held at 0, the
            prior's mean. What that costs says whether they were of use.

    Raises:
        ValueError: the family is no likelihood of such data.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    bounds = []
    with seeded(seed, images.device), pyro.validation_enabled(False):
        for x in images.split(max(1, decoded_at_once(vae) // num_samples)):
            q = vae.encode(x)
            sums = [
                log_weights(vae, x, q, size, score, removed).logsumexp(0)
                for size in _sizes(num_samples, decoded_at_once(vae) // len(x))
            ]
            bounds.append(torch.stack(sums).logsumexp(0) - math.log(num_samples))
            progress(sum(map(len, bounds)) / len(images))
    return torch.cat(bounds)


def log_weights(
    vae: VAE,
    x: Tensor,
    q: TorchDistribution,
    num_samples: int,
    score: str = "levels",
    removed: Tensor | None = None,
) -> Tensor:
    """log p(x | z) p(z) / q(z) at draws from q, nats, (num_samples, N).

    Components that `removed` (latent_dim,) marks are 0, and neither prior nor q counts them.
    """
    z = q.rsample((num_samples,))
    if removed is None:
        return log_likelihood(vae, x, z, score) + vae.prior.log_prob(z) - q.log_prob(z)
    log_ratio = vae.prior.base_dist.log_prob(z) - q.base_dist.log_prob(z)
    z, log_ratio = z.masked_fill(removed, 0), log_ratio.masked_fill(removed, 0)
    return log_likelihood(vae, x, z, score) + log_ratio.sum(-1)


def log_likelihood(vae: VAE, x: Tensor, z: Tensor, score: str = "levels") -> Tensor:
    """log p(x | z), nats, as `levels` or the family's own `density` scores it; z (..., N, D)."""
    return DECODERS[check_name("score", score, DECODERS)](vae, z).log_prob(x)


DECODERS = {"levels": VAE.decode_levels, "density": VAE.decode}


def decoded_at_once(vae: VAE) -> int:
    """How many images to decode and score at a time, so that they stay in the processor's cache."""
    return max(
        1, _NUMBERS_AT_ONCE // (vae.likelihood.numbers_per_pixel * math.prod(vae.image_shape))
    )


def _sizes(count: int, at_once: int) -> list[int]:
    """`count` cut into pieces of `at_once` and a last one of what is left."""
    at_once = max(1, at_once)
    return [min(at_once, count - start) for start in range(0, count, at_once)]


def bits_per_dim(log_probability: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Nats per image (N,) of log probability as bits per pixel and channel."""
    return -log_probability / (math.prod(image_shape) * math.log(2))
