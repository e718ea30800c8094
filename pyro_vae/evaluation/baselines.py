"""Trivial models of the training images, on the measure of all families: P of the grey levels.

What a VAE is worth is known beside them only. Each function returns log P(x) of images (N, C, H, W)
in nats, (N,), from training images on the same grid of grey levels.
"""

import math

import torch
from torch import Tensor

from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.exact import optimal_linear_vae
from pyro_vae.likelihoods.distributions import Normal, half_bin
from pyro_vae.models.elbo import chunks

HELD_OUT, MOST_HELD_OUT = 10, 1000  # one in so many training images chooses the diagonal's variance
STEPS_OF_VARIANCE = 10  # each four times the one before
PPCA_SAMPLES = 50


def independent_pixels(images: Tensor, train: Tensor, levels: int) -> Tensor:
    """Return log P under independent pixels with a free probability for each grey level.

    `P(v) = (count of v + 1) / (images + levels)` at each pixel.
    """
    pixels = math.prod(train.shape[1:])
    counts = torch.zeros(pixels * levels, dtype=torch.long, device=train.device)
    for x in chunks(train):
        index = _levels_of(x, levels) + levels * torch.arange(pixels, device=x.device)
        counts = counts + torch.bincount(index.flatten(), minlength=pixels * levels)
    log_probs = ((counts.view(pixels, levels).double() + 1) / (len(train) + levels)).log()
    found = []
    for x in chunks(images):
        index = _levels_of(x, levels)
        found.append(log_probs.expand(len(x), -1, -1).gather(2, index.unsqueeze(-1)).sum((1, 2)))
    return torch.cat(found)


def _levels_of(images: Tensor, levels: int) -> Tensor:
    return (images.flatten(1) * (levels - 1)).round().long()


def one_gaussian(images: Tensor, train: Tensor, levels: int) -> tuple[Tensor, float]:
    """Return log P under one Normal with a full covariance, and the variance added to its diagonal.

    Each pixel is, given the ones before it, a Normal that is scored on the bin of its grey level, so
    that the probabilities of all images add up to 1. The diagonal gets at least the variance of a
    uniform bin, `1 / (12 (levels - 1)^2)`, and more where a tenth of the training images is likelier
    then. Without it the covariance of images with constant pixels would be singular.
    """
    cut = len(train) - min(MOST_HELD_OUT, max(1, len(train) // HELD_OUT))
    mean, covariance = _moments(train[:cut])
    least = (2 * half_bin(levels)) ** 2 / 12
    variances = [least * 4**n for n in range(STEPS_OF_VARIANCE)]
    scores = {v: _gaussian(train[cut:], mean, covariance, v, levels).mean() for v in variances}
    best = max(scores, key=lambda v: scores[v].item())
    return _gaussian(images, *_moments(train), best, levels), best


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    rows = images.flatten(1).double()
    return rows.mean(0), rows.T.cov(correction=0).view(rows.shape[1], -1)


def _gaussian(
    images: Tensor, mean: Tensor, covariance: Tensor, variance: float, levels: int
) -> Tensor:
    factor = torch.linalg.cholesky(covariance + variance * torch.eye(len(mean)).to(covariance))
    scale, found = factor.diagonal(), []
    for part in chunks(images):
        x = part.flatten(1).double()
        standard = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False).T
        given = Normal(x - scale * standard, scale)  # each pixel, given the ones before it
        found.append(given.log_bin_prob(x, half_bin(levels)).sum(1))
    return torch.cat(found)


def ppca(images: Tensor, train: Tensor, levels: int, latent_dim: int, seed: int = 0) -> Tensor:
    """Return log P under probabilistic PCA with `latent_dim` components, scored on grey levels.

    The model is the maximum of its density. Its levels are scored by an importance bound of 50
    draws from its exact posterior.

    Source: Tipping and Bishop, "Probabilistic principal component analysis", 1999.
    """
    vae = optimal_linear_vae(train, min(latent_dim, math.prod(train.shape[1:]) - 1), levels)
    vae = vae.to(images.device, images.dtype).eval()
    return importance_bound(vae, images, PPCA_SAMPLES, seed).log_prob.double()
