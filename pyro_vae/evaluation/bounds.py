"""The importance-weighted bound on log P(x), in nats per image and in bits per dimension."""

import math
from typing import NamedTuple

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pyro_vae.devices import numbers_at_once
from pyro_vae.models.elbo import each_given
from pyro_vae.models.vae import VAE
from pyro_vae.names import check_name
from pyro_vae.notices import Progress, no_progress
from pyro_vae.randomness import seeded

_NUMBERS_AT_ONCE = 2**22
_WORK_PER_NUMBER = 200  # multiply-adds of a layer in the time that scoring takes for each number


class ImportanceBound(NamedTuple):
    """A lower bound on log P(x) and what it rests on, per image (N,)."""

    log_prob: Tensor  # nats
    effective_sample_size: Tensor  # of its draws, 1 to K: near 1 a single one has all the weight


@torch.no_grad()
def importance_bound(
    vae: VAE,
    images: Tensor,
    num_samples: int,
    seed: int = 0,
    score: str = "levels",
    progress: Progress = no_progress,
    removed: Tensor | None = None,
) -> ImportanceBound:
    """Return a lower bound on log P(x) of each image; it rises with K in expectation.

    `log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x)` with z_k ~ q(z | x) and K = `num_samples`

    Memory stays under about 0.2 GB for any K.

    Args:
        vae: a VAE in `eval` mode; a conditional one with the labels of the images.
        images: (N, C, H, W), on the grid of grey levels if `score` is `levels`.
        num_samples: K, the number of draws of z per image.
        seed: the seed of the draws.
        score: `levels`, the measure that all families share, or `density`, the family's own.
        progress: a function that receives how many of what are done.
        removed: (latent_dim,), marks components to remove from the model. They are held at 0, the
            prior's mean. The decrease of the bound shows whether they were useful.

    Raises:
        ValueError: if the family is not a likelihood of such data.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    bounds, sizes = [], []
    with seeded(seed, images.device), pyro.validation_enabled(False):
        batches = images.split(max(1, decoded_at_once(vae) // num_samples))
        for model, x in each_given(vae, batches):
            q = model.encode(x)
            sums = []  # logs of the sums of the weights and of their squares
            for size in batch_sizes(num_samples, decoded_at_once(vae) // len(x)):
                weights = log_weights(model, x, q, size, score, removed)
                sums.append(torch.stack([weights, 2 * weights]).logsumexp(1))
            total, of_squares = torch.stack(sums).logsumexp(0)
            bounds.append(total - math.log(num_samples))
            sizes.append((2 * total - of_squares).exp())
            progress(sum(map(len, bounds)), len(images), "images")
    return ImportanceBound(torch.cat(bounds), torch.cat(sizes))


def log_weights(
    vae: VAE,
    x: Tensor,
    q: TorchDistribution,
    num_samples: int,
    score: str = "levels",
    removed: Tensor | None = None,
) -> Tensor:
    """Return log p(x | z) p(z) / q(z) at draws from q, nats, (num_samples, N).

    Components that `removed` (latent_dim,) marks are 0, and count neither in the prior nor in q.
    """
    z = q.rsample((num_samples,))
    if removed is None:
        return log_likelihood(vae, x, z, score) + vae.prior.log_prob(z) - q.log_prob(z)
    log_ratio = vae.prior.base_dist.log_prob(z) - q.base_dist.log_prob(z)
    z, log_ratio = z.masked_fill(removed, 0), log_ratio.masked_fill(removed, 0)
    return log_likelihood(vae, x, z, score) + log_ratio.sum(-1)


def log_likelihood(vae: VAE, x: Tensor, z: Tensor, score: str = "levels") -> Tensor:
    """Return log p(x | z) at codes z (..., N, latent_dim), nats, (..., N).

    The `score` is `levels`, or `density` for the family's own.
    """
    return DECODERS[check_name("score", score, DECODERS)](vae, z).log_prob(x)


DECODERS = {"levels": VAE.decode_levels, "density": VAE.decode}


def decoded_at_once(vae: VAE) -> int:
    """Return the number of images to decode and score in one batch.

    A batch of this size stays in a processor's cache, and keeps a GPU busy.
    """
    device = next(vae.parameters()).device
    numbers = numbers_at_once(device) // 8 if device.type == "cuda" else _NUMBERS_AT_ONCE
    return max(1, numbers // (vae.likelihood.numbers_per_pixel * math.prod(vae.image_shape)))


@torch.no_grad()
def work_per_draw(vae: VAE) -> int:
    """Return about how many multiply-adds decode an image and score it; counted, so that it repeats."""
    with FlopCounterMode(display=False) as counted:
        vae.of_first_class().outputs(next(vae.parameters()).new_zeros(1, vae.latent_dim))
    scored = vae.likelihood.numbers_per_pixel * math.prod(vae.image_shape)
    return counted.get_total_flops() // 2 + _WORK_PER_NUMBER * scored


def batch_sizes(count: int, at_once: int) -> list[int]:
    """Return the sizes of batches of `at_once`, and of a smaller last one, that add up to `count`."""
    at_once = max(1, at_once)
    return [min(at_once, count - start) for start in range(0, count, at_once)]


def bits_per_dim(log_probability: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Return minus the log probability, given in nats per image (N,), as bits per pixel and channel."""
    return -log_probability / (math.prod(image_shape) * math.log(2))
