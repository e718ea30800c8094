"""The likelihood families, and the dict from their names to their classes.

The parameters a and b of `beta` and `beta_binomial` lie between 0.01 and 10,000.
"""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_vae.likelihoods.base import (
    LevelMass,
    Likelihood,
    PixelDensity,
    SharedScaleDensity,
    bounded_scale,
    split_channels,
)
from pyro_vae.likelihoods.distributions import (
    ContinuousBernoulli,
    ImageBernoulli,
    Laplace,
    Logistic,
    StretchedBeta,
    StudentT3,
    half_bin,
)
from pyro_vae.likelihoods.gaussians import (
    GaussianFixedSigma,
    GaussianImageSigma,
    GaussianOptimalSigma,
    GaussianPixelSigma,
    GaussianSharedSigma,
)
from pyro_vae.likelihoods.levels import (
    BetaBinomialLevels,
    CategoricalLevels,
    ImageMixture,
    Quantized,
)
from pyro_vae.likelihoods.special import bounded

CONCENTRATION_FLOOR, CONCENTRATION_CEILING = 1e-2, 1e4


def bounded_concentrations(outputs: Tensor) -> list[Tensor]:
    """Return a and b of a Beta between the floor and the ceiling; the outputs are log a and log b.

    Args:
        outputs: (..., 2 C, H, W).
    """
    half = outputs.shape[-3] // 2
    return split_channels(bounded(outputs, CONCENTRATION_FLOOR, CONCENTRATION_CEILING), half, half)


class Bernoulli(Likelihood):
    """The likelihood of binary images: P(x = 1) = sigmoid(logit).

    A model of grey images can be trained on `x logit - log(1 + exp(logit))`, the usual
    cross-entropy. No distribution of grey values has this log density, however. On grey images the
    family is therefore not a likelihood, and it has no mass.
    """

    scores_grey = True
    compiled_per_pixel = 2

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        if score == "levels":
            self.mass(torch.zeros(1, *image_shape))

    @classmethod
    def scored_on(cls, score: str, has_bits: bool = True) -> str:
        return "levels" if has_bits else "none"

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
    """The continuous Bernoulli on the unit interval, stretched by half a bin at each end."""

    compiled_per_pixel = 6

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        return ContinuousBernoulli(outputs, half_bin(self.levels))


class LaplacePixels(SharedScaleDensity):
    """A Laplace distribution with one learned scale.

    It differs from `gaussian_shared_sigma` in its tails only.
    """

    compiled_per_pixel = 6
    distribution = Laplace


class StudentTPixels(SharedScaleDensity):
    """Student's t distribution with three degrees of freedom and one learned scale."""

    distribution = StudentT3


class BetaPixels(PixelDensity):
    """A Beta(a, b) per pixel on the unit interval, stretched by half a bin at each end.

    The decoder gives log a and log b. The density is U-shaped where a and b are both below one.
    """

    per_color, numbers_per_pixel, compiled_per_pixel = 2, 60, 30

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        a, b = bounded_concentrations(outputs)
        return StretchedBeta(a, b, half_bin(self.levels))


class BetaBinomial(LevelMass):
    """A binomial of levels - 1 trials per pixel, whose probability is drawn from a Beta(a, b).

    The decoder gives log a and log b.

    Source: Townsend, Bird and Barber, "Practical lossless compression with latent variables using
    bits back coding", 2019, https://arxiv.org/abs/1901.04866.
    """

    per_color, numbers_per_pixel, compiled_per_pixel = 2, 40, 56

    def mass(self, outputs: Tensor) -> TorchDistribution:
        a, b = bounded_concentrations(outputs)
        return BetaBinomialLevels(a, b, self.levels).to_event(3)


class Categorical(LevelMass):
    """A softmax over the grey levels.

    The decoder gives features per pixel and channel. One linear head, which all of them share,
    turns the features into logits.
    """

    per_color = 8  # features
    compiled_per_pixel = 0  # one operator turns features into masses

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        self.head, self.numbers_per_pixel = nn.Linear(self.per_color, levels), 3 * levels

    def mass(self, outputs: Tensor) -> TorchDistribution:
        features = outputs.unflatten(-3, (self.colors, self.per_color)).movedim(-3, -1)
        # Copies, since an optimizer may change the head before the distribution is scored again.
        weight, bias = (p.to(outputs.dtype, copy=True) for p in (self.head.weight, self.head.bias))
        return CategoricalLevels(features, weight, bias).to_event(3)


class DiscretizedLogistic(LevelMass):
    """The bins of a logistic distribution with a location and a scale per pixel and channel.

    Source: Kingma et al., "Improving variational inference with inverse autoregressive flow",
    2016, https://arxiv.org/abs/1606.04934.
    """

    per_color = 2

    def mass(self, outputs: Tensor) -> TorchDistribution:
        loc, raw = split_channels(outputs, self.colors, self.colors)
        return Quantized(Logistic(loc, bounded_scale(raw)), self.levels).to_event(3)


class DiscretizedLogisticMixture(LevelMass):
    """A mixture of five discretized logistics per pixel, whose weights all channels share.

    Given the component, the channels are independent.

    Source: Salimans, Karpathy, Chen and Kingma, "PixelCNN++", 2017,
    https://arxiv.org/abs/1701.05517 (without its regression of one channel on another).
    """

    COMPONENTS, numbers_per_pixel, compiled_per_pixel = 5, 60, 25

    @property
    def channels(self) -> int:
        return self.COMPONENTS * (1 + 2 * self.colors)

    def mass(self, outputs: Tensor) -> TorchDistribution:
        outputs = outputs.unflatten(-3, (self.COMPONENTS, 1 + 2 * self.colors))
        logits, loc, raw = outputs.split([1, self.colors, self.colors], -3)
        # Components that start equal stay equal for long, so their locations are spread.
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
    "beta_binomial": BetaBinomial,
    "categorical": Categorical,
    "discretized_logistic": DiscretizedLogistic,
    "discretized_logistic_mixture": DiscretizedLogisticMixture,
}
