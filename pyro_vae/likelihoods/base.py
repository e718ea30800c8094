"""What all likelihood families share: a module whose forward turns decoder outputs into a distribution.

Each family says how many decoder `channels` it needs and what its distribution of a pixel is;
through that come its mean image and the log probability of every grey level. `score` picks what
`forward` returns: the family's own `density` on x in [0, 1] (masses stay masses), or the mass of
the grey `levels` v / (levels - 1), the one measure on which families can be compared.

Learned scales lie in 0.001 ... 1,000 and start at 0.25.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_vae.data import check_unit_interval
from pyro_vae.likelihoods.levels import GreyLevels, Quantized
from pyro_vae.likelihoods.special import softclip
from pyro_vae.names import SCORES, check_name

SCALE_FLOOR, SCALE_CEILING, INITIAL_SCALE = 1e-3, 1e3, 0.25


def bounded_scale(raw: Tensor) -> Tensor:
    """A scale between the floor and the ceiling; 0 gives the initial scale, log-linear inside."""
    log_scale = raw + math.log(INITIAL_SCALE)
    return softclip(log_scale, math.log(SCALE_FLOOR), math.log(SCALE_CEILING)).exp()


class Likelihood(nn.Module, ABC):
    """p(x | z) as a function of the decoder's outputs.

    Args:
        image_shape: (C, H, W).
        levels: grey levels in the data (2 binary, 256 for 8 bits).
        score: `density` or `levels`, what `forward` scores images by.

    Raises:
        ValueError: fewer than two levels, an unknown score.
    """

    per_color = 1  # decoder outputs per pixel and colour
    single_sigma = False  # whether it is a Normal with one sigma for all pixels and images
    given_sigma: float | None = None  # that sigma, where the user has set it
    always_mass = False  # whether it is a mass over grey levels, whatever `score` says
    binary_only = False  # whether it is a likelihood of binary images only
    numbers_per_pixel = 8  # that scoring a pixel holds at once, for those who bound memory

    def __init__(
        self, image_shape: tuple[int, int, int], levels: int = 256, score: str = "density"
    ):
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels: expected at least 2 grey levels, got {levels}")
        check_name("score", score, SCORES)
        self.colors, self.levels, self.score = image_shape[0], levels, score

    @property
    def channels(self) -> int:
        """Decoder outputs per pixel."""
        return self.per_color * self.colors

    @abstractmethod
    def density(self, outputs: Tensor) -> TorchDistribution:
        """The family's own distribution, event shape (C, H, W), from outputs (..., channels, H, W)."""

    @abstractmethod
    def mass(self, outputs: Tensor) -> TorchDistribution:
        """The distribution over grey levels, event shape (C, H, W)."""

    def forward(self, outputs: Tensor) -> TorchDistribution:
        """The distribution that training scores: `density` or `mass`, as `score` says."""
        return self.density(outputs) if self.score == "density" else self.mass(outputs)

    @property
    def is_likelihood(self) -> bool:
        """Whether the family can score data of these grey levels at all."""
        return True

    @property
    def scores_grey(self) -> bool:
        """Whether `forward` takes any x in [0, 1], or the grid of grey levels only."""
        return self.score == "density"

    def check(self, images: Tensor) -> None:
        """Refuse images that the family cannot score.

        Raises:
            ValueError: pixels that are not finite, outside [0, 1], or off the grid of grey levels.
        """
        check_unit_interval(images)
        if not self.scores_grey and not GreyLevels(self.levels).check(images).all():
            raise ValueError(
                f"images: expected the {self.levels} grey levels v / {self.levels - 1}, got pixels"
                " between them; give the data's own number of levels, or score='density'"
            )

    def calibrate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Between epochs: set what is computed from the training set, batches of (x, outputs)."""


class PixelDensity(Likelihood):
    """A family with a density per pixel; its grey levels are the density's bins."""

    @abstractmethod
    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """The distribution of single pixels, batch shape (..., C, H, W), with `log_bin_prob`."""

    def density(self, outputs: Tensor) -> TorchDistribution:
        return self.pixels(outputs).to_event(3)

    def mass(self, outputs: Tensor) -> TorchDistribution:
        return Quantized(self.pixels(outputs), self.levels).to_event(3)


class LevelMass(Likelihood):
    """A family that is a mass over grey levels by nature, whatever `score` says."""

    scores_grey = False
    always_mass = True

    def density(self, outputs: Tensor) -> TorchDistribution:
        return self.mass(outputs)


class SharedScaleDensity(PixelDensity):
    """A location-scale family: a location per pixel, one learned scale for all pixels of all images."""

    distribution: type[TorchDistribution]  # of a location and a scale

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        self.raw_scale = nn.Parameter(torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        return bounded_scale(self.raw_scale)

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        return self.distribution(outputs, self.scale)
