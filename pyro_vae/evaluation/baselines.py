"""Trivial models of the training images, on the measure of all families: P of the grey levels.

What a VAE is worth is known beside them only. Each function returns log P(x) of images (N, C, H, W)
in nats, (N,), from training images on the same grid of grey levels.
"""

import math
from collections.abc import Iterator

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.exact import LinearGaussian, linear_vae, optimal_linear_vae
from pyro_vae.likelihoods.distributions import Normal, half_bin
from pyro_vae.models.elbo import chunks

HELD_OUT, MOST_HELD_OUT = 10, 1000  # one in so many training images chooses the diagonal's variance
STEPS_OF_VARIANCE = 10  # each four times the one before
BLOCK = (
    2048  # pixels of one covariance: the cost is cubic in them, and no signal is heard meanwhile
)
MOST_PIXELS, MOST_PROBABILITIES = 2**15, 2**25  # of one Gaussian, and of independent pixels
DRAWS_FOR_SIGMA, NUMBERS_FOR_SIGMA = 4, 2**22


def spread(images: Tensor, numbers: int) -> Tensor:
    """Return every n-th image, so that they have about so many numbers or fewer."""
    return images[:: math.ceil(images.numel() / numbers)]


def independent_pixels(images: Tensor, train: Tensor, levels: int) -> Tensor:
    """Return log P under independent pixels with a free probability for each grey level.

    `P(v) = (count of v + 1) / (images + levels)` at each pixel.

    Raises:
        ValueError: there would be more than 2^25 probabilities.
    """
    pixels = math.prod(train.shape[1:])
    _check_size("pixels times levels", pixels * levels, MOST_PROBABILITIES)
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


def _check_size(what: str, size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"images: expected at most {most:,} {what}, got {size:,}")


def _levels_of(images: Tensor, levels: int) -> Tensor:
    return (images.flatten(1) * (levels - 1)).round().long()


def one_gaussian(images: Tensor, train: Tensor, levels: int) -> tuple[Tensor, float]:
    """Return log P under one Gaussian, pixel by pixel, and the variance added to its diagonal.

    Each pixel is, given the grey values of the ones before it, a Normal that is scored on the bin of
    its grey level. The probabilities of all images add up to 1. They are not those that the Normal of
    all pixels gives to the bins of images: it would be given the bins before, and not their middles.

    The diagonal gets at least the variance of a uniform bin, `1 / (12 (levels - 1)^2)`, and more where
    a tenth of the training images is likelier then. Without it the covariance of images with constant
    pixels would be singular. Images of more than 2,048 pixels and channels are cut into blocks of so
    many, row by row, that are independent of each other.

    Raises:
        ValueError: there are fewer than two training images, or over 32,768 pixels and channels.
    """
    _check_size("pixels and channels", math.prod(train.shape[1:]), MOST_PIXELS)
    if len(train) < 2:
        raise ValueError(f"train: expected two images or more, got {len(train)}")
    cut = len(train) - min(MOST_HELD_OUT, max(1, len(train) // HELD_OUT))
    least = (2 * half_bin(levels)) ** 2 / 12
    variances = [least * 4**n for n in range(STEPS_OF_VARIANCE)]
    scores = torch.zeros(STEPS_OF_VARIANCE, dtype=torch.float64, device=train.device)
    for rows in _blocks(train):
        moments = _moments(rows[:cut])
        scored = [_of_block(rows[cut:], *moments, v, levels).mean() for v in variances]
        scores += torch.stack(scored)
    best = variances[scores.argmax()]
    pairs = zip(_blocks(images), _blocks(train))
    blocks = [_of_block(x, *_moments(rows), best, levels) for x, rows in pairs]
    return torch.stack(blocks).sum(0), best


def _blocks(images: Tensor) -> Iterator[Tensor]:
    """Yield the pixels of images in blocks (N, BLOCK or fewer), the colours of a pixel together."""
    x = images.flatten(1)
    places = torch.arange(x.shape[1], device=x.device).view(images.shape[1:])
    for columns in places.movedim(0, -1).flatten().split(BLOCK):
        yield x[:, columns].double()


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the covariance of pixels (N, pixels)."""
    return rows.mean(0), rows.T.cov(correction=0).view(rows.shape[1], -1)


def _of_block(
    rows: Tensor, mean: Tensor, covariance: Tensor, variance: float, levels: int
) -> Tensor:
    factor = torch.linalg.cholesky(covariance + variance * torch.eye(len(mean)).to(covariance))
    scale, found = factor.diagonal(), []
    for x in chunks(rows):
        standard = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False).T
        given = Normal(x - scale * standard, scale)  # each pixel, given the ones before it
        found.append(given.log_bin_prob(x, half_bin(levels)).sum(1))
    return torch.cat(found)


def ppca(images: Tensor, train: Tensor, levels: int, latent_dim: int, num_samples: int) -> Tensor:
    """Return log P under probabilistic PCA with `latent_dim` components, scored on grey levels.

    Its mean and weights maximise the density, and its sigma the probability of the training images'
    grey levels. The levels are scored by an importance bound from the posterior of its density.

    Args:
        num_samples: the number of draws of z per image. What is compared takes as many.

    Raises:
        ValueError: images of a single pixel.

    Source: Tipping and Bishop, "Probabilistic principal component analysis", 1999.
    """
    vae = optimal_linear_vae(train, min(latent_dim, math.prod(train.shape[1:]) - 1), levels)
    weight, mean, sigma = LinearGaussian.of(vae)
    few = spread(train, NUMBERS_FOR_SIGMA // DRAWS_FOR_SIGMA)

    def loss(log_sigma: float) -> float:
        scored = linear_vae(weight, mean, math.exp(log_sigma), few, levels)
        return -importance_bound(scored, few, DRAWS_FOR_SIGMA).log_prob.mean().item()

    bounds = math.log(sigma) - 1, math.log(sigma) + 2
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.01})
    scored = linear_vae(weight, mean, math.exp(found.x), images, levels)
    return importance_bound(scored, images, num_samples).log_prob.double()
