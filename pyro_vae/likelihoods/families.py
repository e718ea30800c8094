"""The decoder's likelihood: a module whose forward turns decoder outputs into a distribution of images.

Each family says how many decoder `channels` it needs and what its distribution of a pixel is;
through that come its mean image and the log probability of every grey level. `score` picks what
`forward` returns: the family's own `density` on x in [0, 1] (masses stay masses), or the mass of
the grey `levels` v / (levels - 1), the one measure on which families compare.

Learned scales lie in 0.001 ... 1,000, from 0.25 on, the concentrations of `beta` in 0.01 ... 10,000.

Source of the learned sigmas: Rybkin, Daniilidis and Levine, "Simple and effective VAE training with
calibrated decoders", 2020, https://arxiv.org/abs/2006.13202.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_vae.data import check_unit_interval
from pyro_vae.likelihoods.distributions import (
    ContinuousBernoulli,
    ImageBernoulli,
    Laplace,
    Logistic,
    Normal,
    ProfiledNormal,
    StretchedBeta,
    StudentT3,
    half_bin,
)
from pyro_vae.likelihoods.levels import CategoricalLevels, GreyLevels, ImageMixture, Quantized
from pyro_vae.likelihoods.special import softclip
from pyro_vae.names import SCORES, check_name

SCALE_FLOOR, SCALE_CEILING, INITIAL_SCALE = 1e-3, 1e3, 0.25
CONCENTRATION_FLOOR, CONCENTRATION_CEILING = 1e-2, 1e4


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


class Bernoulli(Likelihood):
    """P(x = 1) = sigmoid(logit): the likelihood of binary images.

    On grey images `x logit - log(1 + exp(logit))` can be trained on (the usual cross-entropy), but
    no distribution of grey values has it as its log density: it is no likelihood, and has no mass.
    """

    scores_grey = True
    binary_only = True

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        if score == "levels":
            self.mass(torch.zeros(1, *image_shape))

    @property
    def is_likelihood(self) -> bool:
        return self.levels == 2

    def density(self, outputs: Tensor) -> TorchDistribution:
        return ImageBernoulli(outputs)

    def mass(self, outputs: Tensor) -> TorchDistribution:
        if not self.is_likelihood:
            raise ValueError(
                f"likelihood: bernoulli gives no probability to {self.levels} grey levels;"
                " binarize the data, or choose another family"
            )
        return self.density(outputs)


class ContinuousBernoulliPixels(PixelDensity):
    """The continuous Bernoulli on the unit interval stretched by half a bin at each end."""

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        return ContinuousBernoulli(outputs, half_bin(self.levels))


class GaussianFixedSigma(PixelDensity):
    """Normal with a sigma that the user sets (default: 0.25)."""

    single_sigma = True

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
    """Normal with one learned sigma."""

    single_sigma = True
    distribution = Normal


class GaussianImageSigma(PixelDensity):
    """Normal with one sigma per image: log sigma is the mean of a decoder channel of its own."""

    @property
    def channels(self) -> int:
        return self.colors + 1

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        loc, raw = outputs.split([self.colors, 1], -3)
        return Normal(loc, bounded_scale(raw.mean((-3, -2, -1), keepdim=True)))


class GaussianPixelSigma(PixelDensity):
    """Normal with one sigma per pixel and channel."""

    per_color = 2

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        loc, raw = outputs.chunk(2, -3)
        return Normal(loc, bounded_scale(raw))


class GaussianOptimalSigma(PixelDensity):
    """Normal whose sigma maximises the likelihood.

    While training, `log_prob` profiles sigma over the batch that it scores. Between epochs the
    buffer `sigma` takes the root mean squared error over the training set, and in `eval` mode the
    family is the Normal of that sigma: a distribution of single images again.
    """

    single_sigma = True

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        self.register_buffer("sigma", torch.tensor(INITIAL_SCALE))

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        if self.training:
            return ProfiledNormal(outputs, self.sigma, SCALE_FLOOR)
        return Normal(outputs, self.sigma)

    def calibrate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        sums = [((x - loc).double().square().sum(), x.numel()) for x, loc in batches]
        squares, pixels = (sum(column) for column in zip(*sums))
        self.sigma.copy_((squares / pixels).sqrt().clamp_min(SCALE_FLOOR))


class LaplacePixels(SharedScaleDensity):
    """Laplace with one learned scale, as `gaussian_shared_sigma` has: only the tails differ."""

    distribution = Laplace


class StudentTPixels(SharedScaleDensity):
    """Student's t with three degrees of freedom and one learned scale."""

    distribution = StudentT3


class BetaPixels(PixelDensity):
    """Beta(a, b) per pixel on the unit interval stretched by half a bin at each end.

    The decoder gives log a and log b; below one both together make a U-shape.
    """

    per_color, numbers_per_pixel = 2, 768

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        low, high = math.log(CONCENTRATION_FLOOR), math.log(CONCENTRATION_CEILING)
        a, b = softclip(outputs, low, high).exp().chunk(2, -3)
        return StretchedBeta(a, b, half_bin(self.levels))


class Categorical(LevelMass):
    """A softmax over the grey levels, from features per pixel through one head that all share."""

    per_color = 8  # features

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        self.head, self.numbers_per_pixel = nn.Linear(self.per_color, levels), 3 * levels

    def mass(self, outputs: Tensor) -> TorchDistribution:
        features = outputs.unflatten(-3, (self.colors, self.per_color)).movedim(-3, -1)
        return CategoricalLevels(self.head(features).to(outputs.dtype)).to_event(3)


class DiscretizedLogistic(LevelMass):
    """The bins of a logistic distribution with location and scale per pixel.

    Source: Kingma et al., "Improving variational inference with inverse autoregressive flow",
    2016, https://arxiv.org/abs/1606.04934.
    """

    per_color = 2

    def mass(self, outputs: Tensor) -> TorchDistribution:
        loc, raw = outputs.chunk(2, -3)
        return Quantized(Logistic(loc, bounded_scale(raw)), self.levels).to_event(3)


class DiscretizedLogisticMixture(LevelMass):
    """Five discretized logistics per pixel, whose weights all channels share.

    Given the component, the channels are independent.

    Source: Salimans, Karpathy, Chen and Kingma, "PixelCNN++", 2017,
    https://arxiv.org/abs/1701.05517 (without its regression of one channel on another).
    """

    COMPONENTS, numbers_per_pixel = 5, 60

    @property
    def channels(self) -> int:
        return self.COMPONENTS * (1 + 2 * self.colors)

    def mass(self, outputs: Tensor) -> TorchDistribution:
        outputs = outputs.unflatten(-3, (self.COMPONENTS, 1 + 2 * self.colors))
        logits, loc, raw = outputs.split([1, self.colors, self.colors], -3)
        # Equal starts would stay equal for long: spread the locations over the grey values.
        starts = torch.linspace(0, 1, self.COMPONENTS, dtype=loc.dtype, device=loc.device)
        logistic = Logistic(loc + starts.view(-1, 1, 1, 1), bounded_scale(raw))
        return ImageMixture(logits, Quantized(logistic, self.levels))


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulliPixels,
    "gaussian_fixed_sigma": GaussianFixedSigma,
    "gaussian_shared_sigma": GaussianSharedSigma,
    "gaussian_image_sigma": GaussianImageSigma,
    "gaussian_pixel_sigma": GaussianPixelSigma,
    "gaussian_optimal_sigma": GaussianOptimalSigma,
    "laplace": LaplacePixels,
    "student_t": StudentTPixels,
    "beta": BetaPixels,
    "categorical": Categorical,
    "discretized_logistic": DiscretizedLogistic,
    "discretized_logistic_mixture": DiscretizedLogisticMixture,
}
