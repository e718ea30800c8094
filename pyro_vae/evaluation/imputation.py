"""Missing pixels of images, by what a VAE expects there, and how far that is from the truth."""

from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from pyro_vae.evaluation.bounds import batch_sizes, decoded_at_once, importance_bound
from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.models.elbo import each_given
from pyro_vae.models.vae import VAE
from pyro_vae.names import QUICK_BOUND_DRAWS
from pyro_vae.notices import Progress, no_progress
from pyro_vae.randomness import seeded


class Imputed(NamedTuple):
    """Images whose missing pixels are filled in, and what the values rest on."""

    images: Tensor  # (N, C, H, W); the others are as they were
    effective_sample_size: Tensor  # (N,), of the draws, 1 to K: near 1 a single one has all weight


class ImputationError(NamedTuple):
    """How far imputed pixels are from the truth, as means over images."""

    squared_error: Estimate  # per missing pixel and channel
    squared_error_of_mean: Estimate  # of the mean image in their place
    log_prob: Estimate | None  # nats per missing pixel and channel; None without a likelihood
    effective_sample_size: Estimate


@torch.no_grad()
def impute(
    vae: VAE,
    images: Tensor,
    num_samples: int = QUICK_BOUND_DRAWS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Imputed:
    """Return images with their missing pixels at the values that the model expects, given the others.

    `E[x_missing | x_observed] = sum_k w_k E[x_missing | z_k]` with z_k ~ q(z | x_observed), and
    weights w_k in proportion to p(x_observed | z_k) p(z_k) / q(z_k | x_observed)

    A model that was trained on images with missing pixels has the better q. Where the mean of a
    family is a sum over its grey levels, it takes as many times longer.

    Args:
        vae: a VAE in `eval` mode; a conditional one with the labels of the images.
        images: (N, C, H, W), NaN where a pixel is missing.
        num_samples: K, the number of draws of z per image.
        seed: the seed of the draws.
        progress: a function that receives how many of what are done.

    Raises:
        ValueError: a plain autoencoder, which has no weights.

    Source: Mattei and Frellsen, "MIWAE: deep generative modelling and imputation of incomplete data
    sets", 2019, https://arxiv.org/abs/1812.02633.
    """
    if not vae.has_rate:
        raise ValueError("vae: an autoencoder has no importance weights")
    found, counts = [], []
    with seeded(seed, images.device), pyro.validation_enabled(False):
        batches = images.split(max(1, decoded_at_once(vae) // num_samples))
        for model, x in each_given(vae.given(missing=True), batches):
            expected, size = _expected(model, x, num_samples)
            found.append(torch.where(x.isnan(), expected, x))
            counts.append(size)
            progress(sum(map(len, found)), len(images), "images")
    return Imputed(torch.cat(found), torch.cat(counts))


def _expected(vae: VAE, x: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
    """Return the expected images, given what is observed of them, and the effective draws (N,)."""
    q, logs, means = vae.encode(x), [], []
    for size in batch_sizes(num_samples, decoded_at_once(vae) // len(x)):
        z = q.sample((size,))
        p = vae.decode(z)
        weights = p.log_prob(x) + vae.prior.log_prob(z) - q.log_prob(z)
        logs.append(torch.stack([weights, 2 * weights]).logsumexp(1))
        means.append(_weighted(weights, p.mean))
    totals, of_squares = torch.stack(logs, 1)
    size = (2 * totals.logsumexp(0) - of_squares.logsumexp(0)).exp()
    return _weighted(totals, torch.stack(means)), size


def _weighted(log_weights: Tensor, images: Tensor) -> Tensor:
    """Return the mean of images (K, N, C, H, W) by log weights (K, N), which need not be normalised."""
    return (log_weights.softmax(0)[..., None, None, None] * images).sum(0)


def with_hidden_pixels(images: Tensor, share: float, seed: int = 0) -> Tensor:
    """Return images (N, C, H, W) with a share of each one's pixels hidden: NaN in all channels.

    Raises:
        ValueError: a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share: expected a number between 0 and 1, got {share}")
    count, _, height, width = images.shape
    with seeded(seed):
        order = torch.rand(count, height * width).argsort(1).argsort(1)
    hidden = order < max(1, round(share * height * width))
    return images.masked_fill(hidden.view(count, 1, height, width).to(images.device), torch.nan)


def imputation_error(
    vae: VAE,
    images: Tensor,
    with_missing: Tensor,
    mean_image: Tensor,
    num_samples: int = QUICK_BOUND_DRAWS,
    seed: int = 0,
    score: str = "levels",
) -> ImputationError:
    """Compare imputed pixels with those that were hidden, beside the mean image in their place.

    `log P(x_missing | x_observed)` is the difference of two importance bounds, of all pixels and of
    those that are observed. It is no bound itself, and right where both draw enough.

    Args:
        vae, num_samples, seed: as for `impute`.
        images: (N, C, H, W), all pixels.
        with_missing: the same images with pixels that are NaN, as `with_hidden_pixels` returns them.
        mean_image: (C, H, W), that of the training images.
        score: the measure of the log probability: `levels`, or `density`, the family's own.

    Raises:
        ValueError: an image without a missing pixel; what `impute` refuses.
    """
    hidden, bounds = with_missing.isnan(), None
    counts = hidden.flatten(1).sum(1)
    if counts.min() == 0:
        raise ValueError("with_missing: expected a missing pixel (NaN) in each image")
    found, size = impute(vae, with_missing, num_samples, seed)
    errors = [(guess - images).square() * hidden for guess in (found, mean_image)]
    squared, of_mean = (estimate(error.flatten(1).sum(1) / counts) for error in errors)
    if vae.likelihood.is_likelihood:
        pairs = (vae, images), (vae.given(missing=True), with_missing)
        bounds = [importance_bound(*pair, num_samples, seed, score).log_prob for pair in pairs]
    log_prob = None if bounds is None else estimate((bounds[0] - bounds[1]) / counts)
    return ImputationError(squared, of_mean, log_prob, estimate(size))
