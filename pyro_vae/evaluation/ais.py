"""Annealed importance sampling: log p(x) from chains that start at a simple density.

The densities `p0(z)^(1-t) p(x, z)^t` lead from the start p0(z), which is the prior or close to
q(z|x), to the posterior. Every chain gives an unbiased weight for p(x). The log of the mean weight is
therefore in expectation a lower bound on log p(x). A chain that runs backwards from an exact draw
of the posterior gives an upper bound. Only simulated data have such draws.

Source: Neal, "Annealed importance sampling", 1998, https://arxiv.org/abs/physics/9803008; Wu,
Burda, Salakhutdinov and Grosse, "On the quantitative analysis of decoder-based generative models",
2017, https://arxiv.org/abs/1611.04273; Grosse, Ghahramani and Adams, "Sandwiching the marginal
likelihood using bidirectional Monte Carlo", 2015, https://arxiv.org/abs/1511.02543.
"""

import math
from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from pyro_vae.evaluation.bounds import decoded_at_once
from pyro_vae.evaluation.estimates import FEW_CHAINS, SPREAD_NATS
from pyro_vae.evaluation.joint import joint_of
from pyro_vae.evaluation.tempering import (
    PILOT_CHAINS,
    Annealing,
    Chains,
    TemperedPath,
    path_of,
    tune,
)
from pyro_vae.models.elbo import fixed_weights
from pyro_vae.models.vae import VAE
from pyro_vae.notices import Progress, no_progress
from pyro_vae.randomness import seeded

DEFAULT = Annealing()


class Annealed(NamedTuple):
    """Bounds on log p(x), nats (N,): lower ones from forward chains, upper ones from backward ones."""

    log_prob: Tensor
    standard_error: Tensor  # of the Monte Carlo draws, given the image; NaN where it is not known
    effective_sample_size: Tensor  # of the weights, 1 ... chains
    acceptance: Tensor
    deviation: Tensor  # standard deviation of the log weights, nats; NaN for a single chain
    bias: Tensor  # estimate of how far the log of the mean weight lies off in expectation, >= 0

    @property
    def error(self) -> Tensor:
        """Return the error of the estimate, nats (N,): that of the draws, and the bias.

        They add up, since every estimate is biased to the same side.
        """
        return self.standard_error + self.bias

    @property
    def unsure(self) -> Tensor:
        """Return for which images log weights deviate by more than 1, or too few chains count, (N,)."""
        return (self.deviation > SPREAD_NATS) | self.of_few_chains

    @property
    def of_few_chains(self) -> Tensor:
        """Return for which images fewer than three chains carry the weight, (N,).

        The log of their mean weight is likely to lie far under log p(x).
        """
        return self.effective_sample_size < FEW_CHAINS


def _anneal(
    path: TemperedPath, chains: Chains, ts: list[float], sizes: Tensor, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Return log weights (chains, N) along ts, upwards or downwards, and the mean acceptance (N,)."""
    log_weights = torch.zeros_like(chains.at.ratio)
    accepted = torch.zeros_like(log_weights[0])
    for k, (t, after) in enumerate(zip(ts, ts[1:])):
        log_weights = log_weights + (after - t) * chains.at.ratio
        if k < len(sizes):
            chains, accept = path.move(chains, after, sizes[k])
            accepted += accept.mean(0) / len(sizes)
        progress(k + 1, len(ts) - 1, "temperatures")
    return log_weights, accepted


def log_mean_weight(log_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log of the mean weight, its standard error, and the effective sample size, (N,).

    The error is that of the jackknife: the log of the mean is taken without each of the weights in
    turn. In expectation its square is at least the variance for one weight fewer, however heavy the
    tail of the weights is. The delta method's error cannot exceed 1.

    Args:
        log_weights: (K, N), of independent chains; for K = 1 there is no error (NaN).

    Source: Efron and Stein, "The jackknife estimate of variance", 1981.
    """
    count = len(log_weights)
    log_sum = log_weights.logsumexp(0)
    alone = torch.eye(count, dtype=torch.bool, device=log_weights.device).unsqueeze(-1)
    without = log_weights.expand(count, -1, -1).masked_fill(alone, -math.inf).logsumexp(1)
    error = ((count - 1) * without.var(0, correction=0)).sqrt()
    if count == 1:
        error = torch.full_like(log_sum, math.nan)
    size = (2 * log_sum - (2 * log_weights).logsumexp(0)).exp()
    return log_sum - math.log(count), error, size


def shortfall(log_weights: Tensor, log_mean: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """Return the standard deviation of log weights, and the bias of the log of their mean, (N,) each.

    The bias is that under a Normal distribution of the log weights, whose log mean is their mean plus
    half their variance. It is at least half the squared error, its expansion for small deviations,
    which also sees weights of which a few are far larger than the others. It is at most four errors:
    a chain that is stuck far below makes the variance huge, and the mean weight not wrong.

    Args:
        log_weights: (K, N), of independent chains; for K = 1 nothing is known (NaN).
        log_mean, error: (N,), as `log_mean_weight` returns them.

    Source: Neal, "Annealed importance sampling", 1998, https://arxiv.org/abs/physics/9803008.
    """
    if len(log_weights) == 1:
        return error, error
    variance = log_weights.var(0)
    normal = log_weights.mean(0) + variance / 2 - log_mean
    bias = torch.maximum(normal, error.square() / 2)
    return variance.sqrt(), torch.minimum(bias, 4 * error)


def annealed_importance_sampling(
    vae: VAE,
    images: Tensor,
    annealing: Annealing = DEFAULT,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Annealed:
    """Return a stochastic lower bound on log p(x): the log of the mean weight of the chains.

    Args:
        vae: a VAE in `eval` mode.
        images: (N, C, H, W).
        seed: the seed of the chains.
        progress: a function that receives how many of what are done.

    Raises:
        ValueError: if the score is unknown, or the family is not a likelihood of such data.
    """
    with seeded(seed, images.device):
        (forward,) = _in_batches(vae, images, None, annealing, progress)
    return forward


class Bracket(NamedTuple):
    """Two bounds on log p(x) in expectation, nats, (N,) each, for images that the model drew."""

    lower: Annealed
    upper: Annealed

    @property
    def gap(self) -> Tensor:
        """Return the upper bound minus the lower bound, nats (N,)."""
        return self.upper.log_prob - self.lower.log_prob


def bidirectional_monte_carlo(
    vae: VAE,
    num_images: int,
    annealing: Annealing = DEFAULT,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Bracket:
    """Return two bounds on log p(x) for images that are simulated from the model.

    The code of a simulated image is an exact draw of its posterior. The backward chains start there
    and use the step sizes of the forward chains. All chains of an image start at this one draw and
    depend on each other, so the error of an upper bound is not known (NaN); the spread of the gap
    over images contains it. Real data come without such draws, so for them the gap between the
    bounds is only indicative.

    Raises:
        ValueError: if the score is unknown, or the family is not a likelihood of such data.
    """
    # One seed for all draws: chains that repeated the draws of z would not be independent of them.
    with seeded(seed, vae.device):
        with torch.no_grad():
            z = vae.prior.sample((num_images,))
            by_levels = annealing.score == "levels"
            x = (vae.decode_levels(z) if by_levels else vae.decode(z)).sample()
        return Bracket(*_in_batches(vae, x, z, annealing, progress))


def _in_batches(
    vae: VAE, images: Tensor, z: Tensor | None, annealing: Annealing, progress: Progress
) -> list[Annealed]:
    """Return the forward runs and, if exact codes z (N, latent_dim) are, the backward."""
    decoded = decoded_at_once(vae) * (1 if images.device.type == "cpu" else 8)  # it fits in a cache
    at_once = max(1, decoded // annealing.num_chains)
    at_once = math.ceil(len(images) / math.ceil(len(images) / at_once))  # of about one size
    batches, count = [], len(images) * annealing.codes_per_image * (1 if z is None else 2)
    with pyro.validation_enabled(False), fixed_weights(vae):
        block = math.gcd(PILOT_CHAINS, annealing.num_chains)
        joint = joint_of(vae, images, annealing.score, (block, at_once), count)
        for first in range(0, len(images), at_once):
            rows = slice(first, first + at_once)
            path = path_of(joint, images[rows], annealing, progress)
            codes = None if z is None else z[rows]
            batches.append(_runs(path, codes, progress))
    return [Annealed(*map(torch.cat, zip(*column))) for column in zip(*batches)]


def _runs(path: TemperedPath, z: Tensor | None, progress: Progress) -> list[Annealed]:
    """Return the forward run of a batch and, if the exact codes z are given, the backward run."""
    ts, (sizes, _) = path.annealing.temperatures, tune(path, progress)
    start = path.draw(path.annealing.num_chains)
    runs = [_bound(*_anneal(path, start, ts, sizes, progress))]
    if z is not None:
        end = path.chains(z.expand(path.annealing.num_chains, -1, -1))
        backward = _bound(*_anneal(path, end, ts[::-1], sizes.flip(0), progress))  # of 1 / p(x)
        unknown = torch.full_like(backward.standard_error, math.nan)
        runs.append(backward._replace(log_prob=-backward.log_prob, standard_error=unknown))
    return runs


def _bound(log_weights: Tensor, acceptance: Tensor) -> Annealed:
    log_mean, error, size = log_mean_weight(log_weights)
    return Annealed(log_mean, error, size, acceptance, *shortfall(log_weights, log_mean, error))
