"""Normal likelihoods with a sigma that is fixed, shared, per image, per pixel, or optimal.

The optimal sigma is the one under which images are most likely, as densities or as grey levels. For
the density it is the root mean squared error. The probability of a grey level is that of its bin,
and the end bins have the tails as well: there the root mean squared error is too large where many
pixels are black or white. As a function of 1 / sigma the log probability is concave, so it has one
maximum, which Newton's method finds.

Source of the learned sigmas: Rybkin, Daniilidis and Levine, "Simple and effective VAE training with
calibrated decoders", 2020, https://arxiv.org/abs/2006.13202; for grey levels Pratt, "Concavity of
the log likelihood", 1981.
"""

import math
from collections.abc import Iterable

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.special import log_ndtr

from pyro_vae.data import has_missing
from pyro_vae.likelihoods import special
from pyro_vae.likelihoods.base import (
    INITIAL_SCALE,
    SCALE_CEILING,
    SCALE_FLOOR,
    PixelDensity,
    SharedScaleDensity,
    bounded_scale,
    split_channels,
)
from pyro_vae.likelihoods.distributions import Normal, half_bin
from pyro_vae.likelihoods.levels import model_by_model
from pyro_vae.likelihoods.special import LOG_2PI

BOUNDS = SCALE_FLOOR, SCALE_CEILING
STEPS = 20  # of Newton's method at most
FEW_STEPS = 4  # in a training step: they leave a relative error of 1e-5 where loc fits x
SMALL = 1e-3  # a step in log sigma, after which the next would be under 1e-5
MANY = 2**15  # pixels, of which a training step on a CPU looks at a table of residuals
CELLS_PER_UNIT = 4096  # of a table of residuals
REACH = 4.0  # the largest residual of a table; larger ones count as this
CELLS = round(2 * REACH * CELLS_PER_UNIT) + 1

Bounds = tuple[float, float]  # the smallest and the largest sigma


class GaussianFixedSigma(PixelDensity):
    """A Normal with a sigma that the user sets (default: 0.25)."""

    one_sigma = "given"
    compiled_per_pixel = 4
    sigma: Tensor

    def __init__(self, image_shape, levels=256, score="density", sigma: float = INITIAL_SCALE):
        super().__init__(image_shape, levels, score)
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma: expected a positive number, got {sigma}")
        self.register_buffer("sigma", torch.tensor(sigma, dtype=torch.float64), persistent=False)

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        return Normal(outputs, self.sigma.to(outputs).expand_as(outputs))


class GaussianSharedSigma(SharedScaleDensity):
    """A Normal with one learned sigma."""

    one_sigma = "learned"
    distribution = Normal


class GaussianImageSigma(PixelDensity):
    """A Normal with one sigma per image: log sigma is the mean of an additional decoder channel."""

    @property
    def channels(self) -> int:
        return self.colors + 1

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        loc, raw = split_channels(outputs, self.colors, 1)
        return Normal(loc, bounded_scale(raw.mean((-3, -2, -1), keepdim=True)))


class GaussianPixelSigma(PixelDensity):
    """A Normal with one sigma per pixel and channel."""

    per_color, compiled_per_pixel = 2, 10

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        loc, raw = split_channels(outputs, self.colors, self.colors)
        return Normal(loc, bounded_scale(raw))


class GaussianOptimalSigma(PixelDensity):
    """A Normal whose sigma maximises the likelihood by the family's `score`.

    During training, `log_prob` profiles sigma over the batch that it scores. Between epochs, the
    buffer `sigma` is set to the one for the whole training set: the root mean squared error, or the
    maximiser of the probability of the grey levels. In `eval` mode the family is the Normal with
    this sigma, so that the distribution of an image no longer depends on the batch.
    """

    one_sigma = "learned"
    compiled_per_pixel = 5
    sigma: Tensor

    def __init__(self, image_shape, levels=256, score="density"):
        super().__init__(image_shape, levels, score)
        self.register_buffer("sigma", torch.tensor(INITIAL_SCALE))

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        if self.training:
            return ProfiledNormal(outputs, self.sigma, BOUNDS)
        return Normal(outputs, self.sigma)

    def check(self, images: Tensor) -> None:
        super().check(images)
        if has_missing(images):
            raise ValueError(
                "images: gaussian_optimal_sigma is of whole images, got missing pixels (NaN);"
                " use gaussian_shared_sigma"
            )

    def calibrate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> bool:
        if self.score == "density":
            sigma = _root_mean_square(batches).clamp_min(SCALE_FLOOR)
        else:
            counts = count_residuals(batches, self.levels)
            sigma = most_likely_sigma_of_residuals(counts, self.levels, BOUNDS)
        self.sigma.copy_(sigma)
        return True


def _root_mean_square(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    sums = [((x - loc).double().square().sum(), x.numel()) for x, loc in batches]
    squares, pixels = (sum(column) for column in zip(*sums))
    return (squares / pixels).sqrt()


# --- the most likely sigma ------------------------------------------------------------------------


class ProfiledNormal(TorchDistribution):
    """A Normal with the one sigma under which the batch that it scores is most likely.

    All pixels of the batch share this sigma. Samples use `scale` instead.
    """

    arg_constraints = {}
    support = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor, bounds: Bounds):
        self.loc, self.scale, self.bounds = loc, scale, bounds
        super().__init__(loc.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return ProfiledNormal(self.loc.expand(batch_shape), self.scale, self.bounds)

    @property
    def mean(self) -> Tensor:
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        mean_square = (value - self.loc).square().mean()
        sigma = mean_square.clamp_min(self.bounds[0] ** 2).sqrt()
        return Normal(self.loc, sigma).log_prob(value)

    def log_bin_prob(self, x: Tensor, half: float) -> Tensor:
        sigma = profiled_sigma(x.detach(), self.loc.detach(), half, *self.bounds)
        return Normal(self.loc, sigma).log_bin_prob(x, half)

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        return Normal(self.loc, self.scale).sample(sample_shape)


def most_likely_sigma(
    x: Tensor,
    loc: Tensor,
    half: float,
    bounds: Bounds,
    weights: Tensor | None = None,
    steps: int = STEPS,
) -> Tensor:
    """Return the one sigma that maximises the probability of all grey levels x together, shape ().

    Newton's method starts at the root mean squared error, and ends after a small step where steps can
    be looked at. They have no gradient: at its optimum, sigma adds nothing to the gradient of the log
    probability by the means (the envelope theorem).

    Args:
        x: grey levels, of any shape.
        loc: the means of the Normals, as x.
        half: half the width of a bin.
        bounds: the smallest and the largest sigma to return.
        weights: how often each x counts, as x (default: once).
        steps: the number of Newton's steps, at most.
    """

    def mean(values: Tensor) -> Tensor:
        return values.mean() if weights is None else (weights * values).sum() / weights.sum()

    low, high = map(math.log, bounds)
    x, loc = (t.detach().flatten() for t in torch.broadcast_tensors(x, loc))
    weights = None if weights is None else weights.flatten()
    with torch.no_grad():
        log_sigma = (mean((x - loc).square()).log() / 2).clamp(low, high)
        for _ in range(steps):
            slope, curvature = map(mean, _derivatives(x, loc, half, log_sigma.exp()))
            step = _newton(slope, curvature)
            log_sigma = (log_sigma + step).clamp(low, high)
            if special.can_look(step) and step.abs() < SMALL:
                break
        return log_sigma.exp()


# As an operator of its own it adds nothing to the graph of a step, which takes long to compile.
@torch.library.custom_op("pyro_vae::profiled_sigma", mutates_args=())
def profiled_sigma(x: Tensor, loc: Tensor, half: float, low: float, high: float) -> Tensor:
    """Return `most_likely_sigma(x, loc, half, (low, high))`; of many pixels by a table of residuals."""
    if x.numel() < MANY or not special.can_look(x):
        return most_likely_sigma(x, loc, half, (low, high), steps=FEW_STEPS)
    levels = round(0.5 / half) + 1
    counts = count_residuals([(x, loc)], levels)
    return most_likely_sigma_of_residuals(counts, levels, (low, high)).to(x.dtype)


@profiled_sigma.register_fake
def _(x, loc, *numbers):
    return x.new_empty(())


profiled_sigma.register_vmap(model_by_model(profiled_sigma))


def _newton(slope: Tensor, curvature: Tensor) -> Tensor:
    """Return Newton's step for log(1 + slope), which is linear in log sigma for narrow bins."""
    rise = 1 + slope.clamp_min(-0.99)
    step = torch.where(curvature < 0, -rise * rise.log() / curvature, slope.sign())
    return step.clamp(-2, 2)


def _derivatives(x: Tensor, loc: Tensor, half: float, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first two derivatives of each log probability by log sigma."""
    t, h, black, white = (x - loc) / sigma, half / sigma, x < half, x > 1 - half
    if x.dtype == torch.float64 and special.can_look(x):
        log_prob = _log_bins(t, h, black, white)
    else:
        log_prob = Normal(loc, sigma).log_bin_prob(x, half)
    below = _edge(t - h, log_prob).masked_fill(black, 0)
    above = _edge(t + h, log_prob).masked_fill(white, 0)
    slope = below - above
    curvature = (t - h).square() * below - (t + h).square() * above - slope - slope.square()
    return slope, curvature


def _log_bins(t: Tensor, h: Tensor, black: Tensor, white: Tensor) -> Tensor:
    """Return the log probability of bins [t - h, t + h], whose ends are open where black or white.

    These are few operations. They lose the digits of `Normal.log_bin_prob` in narrow bins, of which
    float64 has enough.
    """
    beyond_near, beyond_far = log_ndtr(h - t.abs()), log_ndtr(-h - t.abs())
    inside = beyond_near + torch.log1p(-(beyond_far - beyond_near).exp())
    before_far = torch.log1p(-beyond_far.exp())
    open_bin = torch.where((t > 0) == black, before_far, beyond_near)
    return torch.where(black | white, open_bin, inside)


def _edge(t: Tensor, log_prob: Tensor) -> Tensor:
    """Return t times the standard density at t, over a bin's probability."""
    return t * torch.exp(-t.square() / 2 - LOG_2PI / 2 - log_prob)


def count_residuals(batches: Iterable[tuple[Tensor, Tensor]], levels: int) -> Tensor:
    """Return how often each residual occurs in a data set, (3, cells), in cells of 1/4096.

    Those of black, white and other pixels are counted apart: other ones are in the first row, black
    ones in the second. The table is as small for a million images as for one.

    Args:
        batches: pairs (x, loc) of images and their means.
    """
    half, counts = half_bin(levels), torch.zeros((), dtype=torch.long)
    for x, loc in batches:
        cell = (x - loc).clamp_(-REACH, REACH).add_(REACH).mul_(CELLS_PER_UNIT).round_()
        cell += CELLS * ((x < half).to(x.dtype) + 2 * (x > 1 - half).to(x.dtype))
        counts = counts + torch.bincount(cell.flatten().int(), minlength=3 * CELLS)
    return counts.view(3, CELLS)


def most_likely_sigma_of_residuals(counts: Tensor, levels: int, bounds: Bounds) -> Tensor:
    """Return the one sigma that maximises the probability of all pixels counted, shape ().

    Args:
        counts: what `count_residuals` returns.
        bounds: the smallest and the largest sigma to return.
    """
    kind, cell = counts.nonzero(as_tuple=True)
    residual = cell.double() / CELLS_PER_UNIT - REACH
    x = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64, device=counts.device)[kind]
    weights = counts[kind, cell]
    return most_likely_sigma(x, x - residual, half_bin(levels), bounds, weights)
