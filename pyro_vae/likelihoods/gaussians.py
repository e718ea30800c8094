"""Normal likelihoods with a sigma that is fixed, shared, per image, per pixel, or optimal.

Source of the learned sigmas: Rybkin, Daniilidis and Levine, "Simple and effective VAE training with
calibrated decoders", 2020, https://arxiv.org/abs/2006.13202.
"""

import math
from collections.abc import Iterable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.likelihoods.base import (
    INITIAL_SCALE,
    SCALE_CEILING,
    SCALE_FLOOR,
    PixelDensity,
    SharedScaleDensity,
    bounded_scale,
)
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.likelihoods.profile import ProfiledNormal, residuals

BOUNDS = SCALE_FLOOR, SCALE_CEILING


class GaussianFixedSigma(PixelDensity):
    """A Normal with a sigma that the user sets (default: 0.25)."""

    single_sigma = True
    sigma: Tensor

    def __init__(self, image_shape, levels=256, score="density", sigma: float = INITIAL_SCALE):
        super().__init__(image_shape, levels, score)
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma: expected a positive number, got {sigma}")
        self.register_buffer("sigma", torch.tensor(sigma, dtype=torch.float64), persistent=False)

    @property
    def given_sigma(self) -> float:
        return self.sigma.item()

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        return Normal(outputs, self.sigma.to(outputs).expand_as(outputs))


class GaussianSharedSigma(SharedScaleDensity):
    """A Normal with one learned sigma."""

    single_sigma = True
    distribution = Normal


class GaussianImageSigma(PixelDensity):
    """A Normal with one sigma per image: log sigma is the mean of an additional decoder channel."""

    @property
    def channels(self) -> int:
        return self.colors + 1

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        loc, raw = outputs.split([self.colors, 1], -3)
        return Normal(loc, bounded_scale(raw.mean((-3, -2, -1), keepdim=True)))


class GaussianPixelSigma(PixelDensity):
    """A Normal with one sigma per pixel and channel."""

    per_color = 2

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        loc, raw = outputs.chunk(2, -3)
        return Normal(loc, bounded_scale(raw))


class GaussianOptimalSigma(PixelDensity):
    """A Normal whose sigma maximises the likelihood by the family's `score`.

    During training, `log_prob` profiles sigma over the batch that it scores. Between epochs, the
    buffer `sigma` is set to the one for the whole training set: the root mean squared error, or the
    maximiser of the probability of the grey levels. In `eval` mode the family is the Normal with
    this sigma, so that the distribution of an image no longer depends on the batch.
    """

    single_sigma = True
    sigma: Tensor

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        self.register_buffer("sigma", torch.tensor(INITIAL_SCALE))

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        if self.training:
            return ProfiledNormal(outputs, self.sigma, BOUNDS)
        return Normal(outputs, self.sigma)

    def calibrate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        if self.score == "density":
            sigma = _root_mean_square(batches).clamp_min(SCALE_FLOOR)
        else:
            sigma = residuals(batches, self.levels).most_likely_sigma(BOUNDS)
        self.sigma.copy_(sigma)


def _root_mean_square(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    sums = [((x - loc).double().square().sum(), x.numel()) for x, loc in batches]
    squares, pixels = (sum(column) for column in zip(*sums))
    return (squares / pixels).sqrt()
