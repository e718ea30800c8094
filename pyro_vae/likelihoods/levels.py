"""Distributions over the grey levels v / (levels - 1) of an image, v = 0 ... levels - 1."""

import math

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyro_vae.likelihoods.distributions import half_bin


class GreyLevels(constraints.Constraint):
    """The constraint to the grid v / (levels - 1), v = 0 ... levels - 1."""

    is_discrete = True

    def __init__(self, levels: int):
        self.levels = levels
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        v = value * (self.levels - 1)
        return ((v - v.round()).abs() < 1e-3) & (v > -0.5) & (v < self.levels - 0.5)


class Quantized(TorchDistribution):
    """A distribution over grey levels: P(level) is a density's probability of the level's bin."""

    arg_constraints = {}

    def __init__(self, base: TorchDistribution, levels: int):
        self.base, self.levels = base, levels
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def support(self):
        return GreyLevels(self.levels)

    def expand(self, batch_shape, _instance=None):
        return Quantized(self.base.expand(batch_shape), self.levels)

    @property
    def mean(self) -> Tensor:
        """Return the mean as a sum over the levels, one level at a time.

        It is as exact as the masses, and `levels` times as expensive.
        """
        grid = [v / (self.levels - 1) for v in range(1, self.levels)]
        blank = torch.zeros_like(self.base.mean)
        return sum((x * self.log_prob(blank + x).exp() for x in grid), blank)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_bin_prob(value, half_bin(self.levels))

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        with torch.no_grad():
            v = self.base.sample(sample_shape) * (self.levels - 1)
            return v.round().clamp(0, self.levels - 1) / (self.levels - 1)


class CategoricalLevels(TorchDistribution):
    """A categorical distribution with a free probability for every grey level.

    Args:
        logits: (..., levels).
    """

    arg_constraints = {}

    def __init__(self, logits: Tensor):
        self.logits, self.levels = logits.log_softmax(-1), logits.shape[-1]
        super().__init__(logits.shape[:-1], validate_args=False)

    @property
    def support(self):
        return GreyLevels(self.levels)

    def expand(self, batch_shape, _instance=None):
        return CategoricalLevels(self.logits.expand(*batch_shape, self.levels))

    @property
    def mean(self) -> Tensor:
        grid = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.exp() @ grid

    def log_prob(self, value: Tensor) -> Tensor:
        level = (value * (self.levels - 1)).round().long().unsqueeze(-1)
        level, logits = torch.broadcast_tensors(level, self.logits)
        return logits.gather(-1, level[..., :1]).squeeze(-1)

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        categorical = torch.distributions.Categorical(logits=self.logits, validate_args=False)
        return categorical.sample(sample_shape) / (self.levels - 1)


class BetaBinomialLevels(TorchDistribution):
    """A beta-binomial distribution of v over n = levels - 1 trials; it is always scored in float64.

    `log C(n, v) + log B(v + a, n - v + b) - log B(a, b)`, with the beta function B
    """

    arg_constraints = {"a": constraints.positive, "b": constraints.positive}

    def __init__(self, a: Tensor, b: Tensor, levels: int):
        (self.a, self.b), self.levels = torch.broadcast_tensors(a, b), levels
        super().__init__(self.a.shape, validate_args=False)

    @property
    def support(self):
        return GreyLevels(self.levels)

    def expand(self, batch_shape, _instance=None):
        return BetaBinomialLevels(
            self.a.expand(batch_shape), self.b.expand(batch_shape), self.levels
        )

    @property
    def mean(self) -> Tensor:
        return self.a / (self.a + self.b)

    def log_prob(self, value: Tensor) -> Tensor:
        n, a, b = self.levels - 1, self.a.double(), self.b.double()
        v = (value.double() * n).round()
        log_choices = math.lgamma(n + 1) - torch.lgamma(v + 1) - torch.lgamma(n - v + 1)
        after = torch.lgamma(v + a) + torch.lgamma(n - v + b) - torch.lgamma(n + a + b)
        before = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        return (log_choices + after - before).to(self.a.dtype)

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        beta = torch.distributions.Beta(self.a.double(), self.b.double(), validate_args=False)
        with torch.no_grad():
            p, n = beta.sample(sample_shape), self.levels - 1
            return (torch.binomial(torch.full_like(p, n), p) / n).to(self.a.dtype)


class ImageMixture(TorchDistribution):
    """A mixture per pixel whose weights all channels share.

    The channels are independent given the component.

    Args:
        logits: (..., K, 1, H, W), the components' log weights up to a constant.
        components: a distribution with batch shape (..., K, C, H, W).
    """

    arg_constraints = {}

    def __init__(self, logits: Tensor, components: TorchDistribution):
        self.logits, self.components = logits.log_softmax(-4), components
        shape = components.batch_shape
        super().__init__(shape[:-4], shape[-3:], validate_args=False)

    @property
    def support(self):
        return constraints.independent(self.components.support, 3)

    def expand(self, batch_shape, _instance=None):
        inner = self.logits.shape[-4:], self.components.batch_shape[-4:]
        logits, components = (torch.Size(batch_shape) + s for s in inner)
        return ImageMixture(self.logits.expand(logits), self.components.expand(components))

    @property
    def mean(self) -> Tensor:
        return (self.logits.exp() * self.components.mean).sum(-4)

    def log_prob_of_pixels(self, value: Tensor) -> Tensor:
        """Return the log probability of each pixel and channel on its own, (..., C, H, W)."""
        given = self.components.log_prob(value.unsqueeze(-4))
        return torch.logsumexp(self.logits + given, -4)

    def log_prob(self, value: Tensor) -> Tensor:
        given = self.components.log_prob(value.unsqueeze(-4)).sum(-3, keepdim=True)
        return torch.logsumexp(self.logits + given, -4).sum((-3, -2, -1))

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        with torch.no_grad():
            draws = self.components.sample(sample_shape)
            logits = self.logits.expand(*sample_shape, *self.logits.shape).movedim(-4, -1)
            k = torch.distributions.Categorical(logits=logits, validate_args=False).sample()
            k = k.unsqueeze(-4).expand(*draws.shape[:-4], 1, *draws.shape[-3:])
            return draws.gather(-4, k).squeeze(-4)
