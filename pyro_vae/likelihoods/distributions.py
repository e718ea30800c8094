"""Distributions of one grey value that torch and Pyro lack.

`log_prob` scores pixels x in [0, 1] by the density. `log_bin_prob(x, half)` is the log probability
of the bin [x - half, x + half] around a grey level. `levels.Quantized` turns any of these densities
into a distribution over the grey levels v / (levels - 1).

All bins are equally wide, `2 * half = 1 / (levels - 1)`. For families on the whole line, the end
bins include the tails. The two families on an interval live on [-half, 1 + half], so that their end
bins are as wide as the others.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pyro_vae.likelihoods import normal_bins, special
from pyro_vae.likelihoods.derivatives import with_slope

AT_ONCE = 8  # grey levels of a sum over them


def half_bin(levels: int) -> float:
    """Return half the width of a grey level's bin, in units of x."""
    return 0.5 / (levels - 1)


def levels_over_0(levels: int, like: Tensor) -> Iterator[Tensor]:
    """Yield the grey levels over 0, eight at a time, (8, 1, ...) beside a tensor.

    One at a time, a graph of their sum would have thousands of nodes.
    """
    for first in range(1, levels, AT_ONCE):
        some = torch.arange(first, min(first + AT_ONCE, levels), device=like.device)
        yield some.to(like.dtype).view(-1, *[1] * like.ndim) / (levels - 1)


def one_number(x: Tensor) -> Tensor:
    """Return a number without dimensions if it was only expanded to them; other tensors as they are.

    What is computed of it is then computed once.
    """
    same = x.ndim and x.numel() and not any(x.stride())
    return x[(0,) * x.ndim] if same else x


class ImageBernoulli(TorchDistribution):
    """Independent binary pixels of an image, event shape (C, H, W).

    `x logit - log(1 + exp(logit))`, summed over the pixels.

    This equals `Bernoulli(logits=...).to_event(3)`, with one pass less over the image in each
    direction, because the sign is taken after the sum. Grey x in [0, 1] are also scored, by the
    usual cross-entropy.
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 3)}
    support = constraints.independent(constraints.unit_interval, 3)

    def __init__(self, logits: Tensor):
        self.logits = logits
        super().__init__(logits.shape[:-3], logits.shape[-3:], validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return ImageBernoulli(self.logits.expand(*batch_shape, *self.event_shape))

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    def log_prob_of_pixels(self, value: Tensor) -> Tensor:
        """Return the log probability of each pixel and channel, (..., C, H, W)."""
        logits, value = torch.broadcast_tensors(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none")

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_of_pixels(value).flatten(-3).sum(-1)

    def masked(self, there: Tensor) -> TorchDistribution:
        """Return the distribution of the pixels that are there, (..., C, H, W)."""
        return dist.Bernoulli(logits=self.logits, validate_args=False).mask(there).to_event(3)

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return torch.bernoulli(self.mean.detach().expand(shape))


class LocationScaleBins(ABC):
    """The bins of a symmetric location-scale family, computed from its standard distribution."""

    loc: Tensor
    scale: Tensor

    @staticmethod
    @abstractmethod
    def log_sf(t: Tensor) -> Tensor:
        """Return the log survival function of the standard distribution."""

    @staticmethod
    @abstractmethod
    def log_bin(t: Tensor, h: Tensor) -> Tensor:
        """Return log P(t - h < T < t + h) of the standard distribution, for t >= 0."""

    def sf(self, t: Tensor) -> Tensor:
        """Return the survival function of the standard distribution, to absolute rounding."""
        return self.log_sf(t).exp()

    def tail_with_slope(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return `log_sf` and its derivative."""
        return with_slope(self.log_sf, t)

    def bin_with_slope(self, t: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return `log_bin` and its derivative by t."""
        return with_slope(self.log_bin, t, h)

    def log_bin_prob(self, x: Tensor, half: float) -> Tensor:
        """Return the log probability of the bin around each grey level x, nats.

        Args:
            half: half the width of a bin.
        """
        t, h = (x - self.loc) / self.scale, half / one_number(self.scale)
        first, last = x < half, x > 1 - half
        sign = 1 - 2 * first.to(t.dtype)  # of the images alone, which are fewer than the codes
        if special.can_look(x) and not h.requires_grad:
            return self._log_bins_by_kind(t, h, sign, first | last)
        return self.log_bins(t, h, sign, first | last)

    def log_bins(self, t: Tensor, h: Tensor, sign: Tensor, at_end: Tensor) -> Tensor:
        """Return the log probability of each bin of the standard distribution, or of a tail."""
        return torch.where(at_end, self.log_sf(sign * t - h), self.log_bin(t.abs(), h))

    def mean_level(self, levels: int) -> Tensor:
        """Return the mean of the grey levels v / (levels - 1).

        It is the sum over v > 0 of P(level >= v), in a fifth of the time that a sum over masses takes.
        """
        total = torch.zeros_like(self.loc)
        for x in levels_over_0(levels, total):
            tails = self.sf((x - half_bin(levels) - self.loc) / self.scale)
            total = total + tails.sum(0)
        return total / (levels - 1)

    def _log_bins_by_kind(self, t: Tensor, h: Tensor, sign: Tensor, at_end: Tensor) -> Tensor:
        """Return the log probability of each bin by the one formula that it needs, with a slope in t."""
        at_end, sign = (v.expand(t.shape[t.ndim - v.ndim :]).flatten() for v in (at_end, sign))
        rows = t.detach().reshape(-1, len(at_end))
        value = torch.empty_like(rows)
        slope = torch.empty_like(rows) if t.requires_grad else None
        for kind, bins in ((at_end, self._end_bins), (~at_end, self._inner_bins)):
            chosen = kind.nonzero().squeeze(1)
            widths = h.expand_as(t).reshape_as(rows)[:, chosen] if h.ndim else h
            with torch.set_grad_enabled(t.requires_grad):  # else there are no slopes
                found, slopes_found = bins(rows.index_select(1, chosen), widths, sign[chosen])
            value.index_copy_(1, chosen, found)
            if slope is not None:
                slope.index_copy_(1, chosen, slopes_found)
        if slope is None:
            return value.view_as(t)
        return special.with_derivatives(value.view_as(t), [t], lambda: [slope.view_as(t)])

    def _end_bins(self, t: Tensor, h: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = self.tail_with_slope(t.mul_(sign).sub_(h))
        return value, slope.mul_(sign)

    def _inner_bins(self, t: Tensor, h: Tensor, _) -> tuple[Tensor, Tensor]:
        value, slope = self.bin_with_slope(t.abs(), h)
        return value, slope.mul_(t.sign_())


class Normal(dist.Normal, LocationScaleBins):
    """A Normal that can score grey levels, and whose `log_prob` takes fewer passes than torch's."""

    log_sf = staticmethod(normal_bins.log_normal_sf)
    log_bin = staticmethod(normal_bins.log_normal_bin)
    log_bins = staticmethod(normal_bins.log_normal_bins)
    tail_with_slope = staticmethod(normal_bins.normal_tail_with_slope)
    bin_with_slope = staticmethod(normal_bins.normal_bin_with_slope)

    def sf(self, t: Tensor) -> Tensor:
        return (1 - torch.erf(t / math.sqrt(2))) / 2

    def log_prob(self, value: Tensor) -> Tensor:
        t = (value - self.loc) / self.scale
        return -torch.addcmul(self.scale.log() + special.LOG_2PI / 2, t, t, value=0.5)


class Laplace(dist.Laplace, LocationScaleBins):
    """A Laplace distribution that can score grey levels."""

    log_sf = staticmethod(special.log_laplace_sf)
    log_bin = staticmethod(special.log_laplace_bin)


class LocationScale(TorchDistribution, LocationScaleBins):
    """A symmetric location-scale family that torch lacks, or computes with a device sync."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor):
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return type(self)(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        return self.loc


class StudentT3(LocationScale):
    """Student's t distribution with three degrees of freedom.

    `2 / (pi sqrt(3) scale) (1 + t^2 / 3)^-2` with t = (x - loc) / scale
    """

    log_sf = staticmethod(special.log_student_t3_sf)
    log_bin = staticmethod(special.log_student_t3_bin)

    def log_prob(self, value: Tensor) -> Tensor:
        t = (value - self.loc) / self.scale
        constant = math.log(2 / (math.pi * math.sqrt(3)))
        return constant - 2 * torch.log1p(t**2 / 3) - self.scale.log()

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        with torch.no_grad():
            return torch.distributions.StudentT(3.0, self.loc, self.scale).sample(sample_shape)


class Logistic(LocationScale):
    """The logistic distribution.

    `exp(-t) / (scale (1 + exp(-t))^2)` with t = (x - loc) / scale
    """

    log_sf = staticmethod(special.log_logistic_sf)
    log_bin = staticmethod(special.log_logistic_bin)
    log_bins = staticmethod(special.log_logistic_bins)

    def log_prob(self, value: Tensor) -> Tensor:
        t = (value - self.loc) / self.scale
        return special.log_logistic_sf(t) + special.log_logistic_sf(-t) - self.scale.log()

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        with torch.no_grad():
            return self.loc + self.scale * torch.logit(u, eps=torch.finfo(u.dtype).eps)


class OnInterval(TorchDistribution):
    """A distribution on [0, 1], stretched to [-half, 1 + half]."""

    def __init__(self, *parameters: Tensor, half: float):
        self.half, self.width, self.parameters = half, 1 + 2 * half, parameters
        super().__init__(parameters[0].shape, validate_args=False)

    @property
    def support(self):
        return constraints.interval(-self.half, 1 + self.half)

    def expand(self, batch_shape, _instance=None):
        return type(self)(*(p.expand(batch_shape) for p in self.parameters), half=self.half)


class ContinuousBernoulli(OnInterval):
    """The density proportional to exp(logits * y), y in [0, 1], stretched to [-half, 1 + half].

    It is computed from the logits, without a clamp and without loss of digits at any logit.

    Source: Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders", 2019, https://arxiv.org/abs/1907.06845.
    """

    arg_constraints = {"logits": constraints.real}
    has_rsample = True

    def __init__(self, logits: Tensor, half: float):
        self.logits = logits
        super().__init__(logits, half=half)

    @property
    def mean(self) -> Tensor:
        return self.width * special.continuous_bernoulli_mean(self.logits) - self.half

    def log_prob(self, value: Tensor) -> Tensor:
        y = (value + self.half) / self.width
        return self.logits * (y - 0.5) - special.log_sinhc(self.logits / 2) - math.log(self.width)

    def log_bin_prob(self, x: Tensor, half: float) -> Tensor:
        y = (x + self.half) / self.width
        mass = special.log_sinh_ratio(self.logits / 2, 2 * half / self.width)
        return self.logits * (y - 0.5) + mass

    def rsample(self, sample_shape=torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        u = u.clamp_min(torch.finfo(u.dtype).eps)
        # The inverse CDF log(1 + u (e^a - 1)) / a loses its digits for a > 0, so y and u are
        # mirrored there.
        a = -self.logits.abs().clamp_min(1e-6)
        y = torch.log1p(torch.where(self.logits > 0, 1 - u, u) * torch.expm1(a)) / a
        return self.width * torch.where(self.logits > 0, 1 - y, y) - self.half


class StretchedBeta(OnInterval):
    """A Beta(a, b) distribution stretched to [-half, 1 + half]; it is always scored in float64."""

    arg_constraints = {"a": constraints.positive, "b": constraints.positive}

    def __init__(self, a: Tensor, b: Tensor, half: float):
        self.a, self.b = torch.broadcast_tensors(a, b)
        super().__init__(self.a, self.b, half=half)

    @property
    def mean(self) -> Tensor:
        return self.width * self.a / (self.a + self.b) - self.half

    def log_prob(self, value: Tensor) -> Tensor:
        y = (value.double() + self.half) / self.width
        beta = torch.distributions.Beta(self.a.double(), self.b.double(), validate_args=False)
        return (beta.log_prob(y) - math.log(self.width)).to(self.a.dtype)

    def log_bin_prob(self, x: Tensor, half: float) -> Tensor:
        levels = round(0.5 / half) + 1
        a, b, x = torch.broadcast_tensors(self.a, self.b, x)
        return special.log_beta_bin(a, b, (x * (levels - 1)).round(), levels)

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        beta = torch.distributions.Beta(self.a, self.b, validate_args=False)
        return self.width * beta.sample(sample_shape) - self.half
