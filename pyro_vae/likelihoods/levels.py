"""Distributions over the grey levels v / (levels - 1) of an image, v = 0 ... levels - 1."""

import math
from collections.abc import Callable, Iterator

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd.function import _SingleLevelFunction

from pyro_vae.likelihoods.distributions import LocationScaleBins, half_bin, levels_over_0
from pyro_vae.likelihoods.special import log_gamma


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
        """Return the mean as a sum over the levels.

        It is as exact as the masses, and up to `levels` times as expensive.
        """
        if isinstance(self.base, LocationScaleBins):
            return self.base.mean_level(self.levels)
        total = torch.zeros_like(self.base.mean)
        for x in levels_over_0(self.levels, total):
            total = total + (x * self.log_prob(torch.zeros_like(total) + x).exp()).sum(0)
        return total

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_bin_prob(value, half_bin(self.levels))

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        with torch.no_grad():
            v = self.base.sample(sample_shape) * (self.levels - 1)
            return v.round().clamp(0, self.levels - 1) / (self.levels - 1)


class CategoricalLevels(TorchDistribution):
    """A categorical distribution with a free probability for every grey level.

    Its logits are `weight f + bias`, with features f of a pixel.

    Args:
        features: (..., F).
        weight: (levels, F).
        bias: (levels,).
    """

    arg_constraints = {}

    def __init__(self, features: Tensor, weight: Tensor, bias: Tensor):
        self.features, self.weight, self.bias = features, weight, bias
        self.levels = len(bias)
        super().__init__(features.shape[:-1], validate_args=False)

    @property
    def support(self):
        return GreyLevels(self.levels)

    def expand(self, batch_shape, _instance=None):
        features = self.features.expand(*batch_shape, self.features.shape[-1])
        return CategoricalLevels(features, self.weight, self.bias)

    @property
    def probs(self) -> Tensor:
        """Return the probabilities of all levels, (..., levels)."""
        return torch.nn.functional.linear(self.features, self.weight, self.bias).softmax(-1)

    @property
    def mean(self) -> Tensor:
        grid = torch.linspace(0, 1, self.levels, dtype=self.bias.dtype, device=self.bias.device)
        return self.probs @ grid

    def log_prob(self, value: Tensor) -> Tensor:
        level = (value * (self.levels - 1)).round().long().unsqueeze(-1)
        level, features = torch.broadcast_tensors(level, self.features)
        rows = features.flatten(0, -2), self.weight, self.bias, level[..., 0].flatten()
        return log_prob_of_levels(*rows).view(features.shape[:-1])

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        categorical = torch.distributions.Categorical(self.probs, validate_args=False)
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
        of = v + a, n - v + b, n + a + b, a, b, a + b
        gammas = log_gamma(torch.stack(torch.broadcast_tensors(*of)))
        after, before = gammas[0] + gammas[1] - gammas[2], gammas[3] + gammas[4] - gammas[5]
        all_v = range(n + 1)  # a table of constants, since a graph would compute it for each pixel
        less = [math.lgamma(u + 1) + math.lgamma(n - u + 1) for u in all_v]
        choices = math.lgamma(n + 1) - torch.tensor(less, dtype=a.dtype, device=a.device)[v.long()]
        return (choices + after - before).to(self.a.dtype)

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        beta = torch.distributions.Beta(self.a.double(), self.b.double(), validate_args=False)
        with torch.no_grad():
            p, n = beta.sample(sample_shape), self.levels - 1
            return (torch.binomial(torch.full_like(p, n), p) / n).to(self.a.dtype)


# --- the categorical distribution in pieces -------------------------------------------------------

# All logits of a minibatch of MNIST would be 100 MB, written and read several times. Two operators
# compute them in pieces that stay in the processor's cache, and once more for the gradient.

OPERATORS = torch.library.Library("pyro_vae", "FRAGMENT")
OPERATORS.define(
    "log_prob_of_levels(Tensor features, Tensor weight, Tensor bias, Tensor level) -> Tensor"
)
OPERATORS.define(
    "gradients_of_levels(Tensor factor, Tensor features, Tensor weight, Tensor bias, Tensor level)"
    " -> (Tensor, Tensor, Tensor)"
)
log_prob_of_levels = torch.ops.pyro_vae.log_prob_of_levels.default
gradients_of_levels = torch.ops.pyro_vae.gradients_of_levels.default


def _log_prob(features: Tensor, weight: Tensor, bias: Tensor, level: Tensor) -> Tensor:
    """Return `log_softmax(weight f + bias)[level]` for each row f of the features, (n,).

    Args:
        features: (n, F).
        weight: (levels, F).
        bias: (levels,).
        level: (n,), integers.
    """
    parts = []
    for f, v in _pieces(bias, features, level.unsqueeze(-1)):
        parts.append(torch.addmm(bias, f, weight.t()).log_softmax(-1).gather(-1, v))
    return torch.cat(parts).squeeze(-1)


def _gradients(
    factor: Tensor, features: Tensor, weight: Tensor, bias: Tensor, level: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of `factor @ log_prob_of_levels(...)`, factor (n,), by its first three."""
    with_one = torch.cat([features, torch.ones_like(features[:, :1])], -1)
    factor, parts, by_head = -factor.unsqueeze(-1), [], with_one.new_zeros(())
    for f, scaled, v in _pieces(bias, features, with_one * factor, level.unsqueeze(-1)):
        p = torch.addmm(bias, f, weight.t()).softmax(-1)
        p.scatter_add_(-1, v, p.new_full((), -1.0).expand_as(v))
        parts.append((weight.t() @ p.t()).t())  # in this order MKL takes a third of the time
        by_head = by_head + scaled.t() @ p
    return torch.cat(parts) * factor, by_head[:-1].t().contiguous(), by_head[-1].clone()


def _pieces(bias: Tensor, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    logits = 2**27 if bias.is_cuda else 2**17
    return zip(*(t.split(max(1, logits // len(bias))) for t in rows))


class _Differentiable(_SingleLevelFunction):
    """The gradient of `log_prob_of_levels`, for backward passes and `torch.func` alike.

    `torch.library.register_autograd` serves backward passes only.
    """

    @staticmethod
    def forward(ctx, *args):
        ctx.save_for_backward(*args)
        with torch._C._AutoDispatchBelowAutograd():
            return log_prob_of_levels(*args)

    @staticmethod
    def backward(ctx, factor):
        return *gradients_of_levels(factor, *ctx.saved_tensors), None


def _differentiable(*args: Tensor) -> Tensor:
    with enable_single_level_autograd_function():
        return _Differentiable.apply(*args)  # type: ignore[attr-defined]


def model_by_model(operator: Callable) -> Callable:
    """Return the operator for the models of an ensemble: one after the other."""

    def operate(info, in_dims, *args):
        models = []
        for n in range(info.batch_size):
            own = (t if dim is None else t.select(dim, n) for t, dim in zip(args, in_dims))
            models.append(operator(*own))
        if isinstance(models[0], Tensor):
            return torch.stack(models), 0
        return tuple(map(torch.stack, zip(*models))), (0, 0, 0)

    return operate


OPERATORS.impl("log_prob_of_levels", _log_prob, "CompositeExplicitAutograd")
OPERATORS.impl("log_prob_of_levels", _differentiable, "Autograd")
OPERATORS.impl("gradients_of_levels", _gradients, "CompositeExplicitAutograd")
for operator, shapes in (
    (log_prob_of_levels, lambda features, *_: features.new_empty(len(features))),
    (gradients_of_levels, lambda _, *learned: tuple(map(torch.empty_like, learned[:3]))),
):
    torch.library.register_fake(operator, shapes, lib=OPERATORS)
    torch.library.register_vmap(operator, model_by_model(operator), lib=OPERATORS)


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

    def masked(self, there: Tensor) -> "ImageMixture":
        """Return the distribution of the pixels and channels that are there, (..., C, H, W)."""
        return ImageMixture(self.logits, self.components.mask(there.unsqueeze(-4)))

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        with torch.no_grad():
            draws = self.components.sample(sample_shape)
            logits = self.logits.expand(*sample_shape, *self.logits.shape).movedim(-4, -1)
            k = torch.distributions.Categorical(logits=logits, validate_args=False).sample()
            k = k.unsqueeze(-4).expand(*draws.shape[:-4], 1, *draws.shape[-3:])
            return draws.gather(-4, k).squeeze(-4)
