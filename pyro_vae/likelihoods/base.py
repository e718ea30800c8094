"""The interface of all likelihood families: modules that map decoder outputs to a distribution.

A family declares how many decoder `channels` it needs and which distribution a pixel has. The mean
image and the log probability of every grey level follow from that distribution. `score` selects
what `forward` returns:

- `density`: the family's own density on x in [0, 1]. Families that are masses stay masses.
- `levels`: the mass of the grey levels v / (levels - 1). This is the only measure on which families
  can be compared.

Learned scales lie between 0.001 and 1,000. They start at 0.25.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_vae.data import check_unit_interval
from pyro_vae.likelihoods.levels import GreyLevels, Quantized
from pyro_vae.likelihoods.special import bounded
from pyro_vae.names import SCORES, check_name

SCALE_FLOOR, SCALE_CEILING, INITIAL_SCALE = 1e-3, 1e3, 0.25


def bounded_scale(raw: Tensor) -> Tensor:
    """Return a scale between the floor and the ceiling.

    The log scale is linear in `raw` well inside these bounds. `raw` = 0 gives the initial scale.
    """
    return bounded(raw + math.log(INITIAL_SCALE), SCALE_FLOOR, SCALE_CEILING)


def split_channels(outputs: Tensor, *channels: int) -> list[Tensor]:
    """Return the outputs (..., channels, H, W) in parts of so many channels.

    They are split as rows of pixels. Inductor takes images of one channel for images whose channels
    come last, and would interleave the gradients of the parts.
    """
    parts = outputs.flatten(-2).split(channels, -2)
    return [part.unflatten(-1, outputs.shape[-2:]) for part in parts]


class Likelihood(nn.Module, ABC):
    """A likelihood p(x | z) as a function of the decoder's outputs.

    Args:
        image_shape: (C, H, W).
        levels: the number of grey levels in the data (2 for binary images, 256 for 8 bits).
        score: `density` or `levels`, the measure by which `forward` scores images.

    Raises:
        ValueError: if there are fewer than two levels, or the score is unknown.
    """

    per_color = 1  # decoder outputs per pixel and colour
    one_sigma: str | None = None  # "given" or "learned": of a Normal with one sigma for all pixels
    numbers_per_pixel = 8  # held in memory while a pixel is scored; sets batch sizes
    compiled_per_pixel = 8  # by what compiling saves on grey levels (benchmarks/families.md)

    def __init__(
        self, image_shape: tuple[int, int, int], levels: int = 256, score: str = "density"
    ):
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels: expected at least 2 grey levels, got {levels}")
        check_name("score", score, SCORES)
        self.colors, self.levels, self.score = image_shape[0], levels, score

    def extra_repr(self) -> str:
        return f"levels={self.levels}, score={self.score!r}"

    @property
    def channels(self) -> int:
        """Return the number of decoder outputs per pixel."""
        return self.per_color * self.colors

    @abstractmethod
    def density(self, outputs: Tensor) -> TorchDistribution:
        """Return the family's own distribution, event shape (C, H, W).

        Args:
            outputs: (..., channels, H, W), the decoder's.
        """

    @abstractmethod
    def mass(self, outputs: Tensor) -> TorchDistribution:
        """Return the distribution over grey levels, event shape (C, H, W).

        Args:
            outputs: (..., channels, H, W), the decoder's.
        """

    def forward(self, outputs: Tensor) -> TorchDistribution:
        """Return the distribution that training scores: `density` or `mass`, as `score` says."""
        return self.density(outputs) if self.score == "density" else self.mass(outputs)

    @property
    def is_likelihood(self) -> bool:
        """Return whether the family is a likelihood of data with this number of grey levels."""
        return True

    @classmethod
    def scored_on(cls, score: str, has_bits: bool = True) -> str:
        """Return what the family scores images on: `density`, `levels`, or `none` of the two.

        Args:
            score: `density` or `levels`, as the family was made.
            has_bits: whether the data's grey levels had bits per dimension under it.
        """
        return score

    @property
    def scores_grey(self) -> bool:
        """Return whether `forward` scores any x in [0, 1], or the grid of grey levels only."""
        return self.score == "density"

    def check(self, images: Tensor) -> None:
        """Check that the family can score images, of which some pixels may be missing (NaN).

        Raises:
            ValueError: if pixels are not finite or outside [0, 1], or if they are off the grid of
                grey levels and only these are scored.
        """
        check_unit_interval(images, missing=True)
        if self.scores_grey:
            return
        if not (GreyLevels(self.levels).check(images) | images.isnan()).all():
            raise ValueError(
                f"images: expected the {self.levels} grey levels v / {self.levels - 1}, got pixels"
                " between them; give the data's own number of levels, or score='density'"
            )

    def calibrate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> bool:
        """Set the parameters that are computed from the training set, and return whether any are.

        It is called between epochs.

        Args:
            batches: pairs (x, outputs) of images and the decoder's outputs.
        """
        return False


class PixelDensity(Likelihood):
    """A family with a density per pixel; a grey level has the probability of its bin."""

    @abstractmethod
    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Return the distribution of pixels, batch shape (..., C, H, W), with a `log_bin_prob`."""

    def density(self, outputs: Tensor) -> TorchDistribution:
        return self.pixels(outputs).to_event(3)

    def mass(self, outputs: Tensor) -> TorchDistribution:
        return Quantized(self.pixels(outputs), self.levels).to_event(3)


class LevelMass(Likelihood):
    """A family that is a mass over grey levels for either `score`."""

    scores_grey = False

    @classmethod
    def scored_on(cls, score: str, has_bits: bool = True) -> str:
        return "levels"

    def density(self, outputs: Tensor) -> TorchDistribution:
        return self.mass(outputs)


class SharedScaleDensity(PixelDensity):
    """A location-scale family with a location per pixel and one learned scale.

    All pixels of all images share the scale.
    """

    distribution: Callable[[Tensor, Tensor], TorchDistribution]  # takes a location and a scale

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        self.raw_scale = nn.Parameter(torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        return bounded_scale(self.raw_scale)

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        return self.distribution(outputs, self.scale)
