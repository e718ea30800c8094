"""Annealed importance sampling: log p(x) from chains that start at a simple density.

The densities `p0(z)^(1-t) p(x, z)^t` lead from the start p0(z), which is the prior or q(z|x), to
the posterior. Every chain gives an unbiased weight for p(x). The log of the mean weight is
therefore in expectation a lower bound on log p(x). A chain that runs backwards from an exact draw
of the posterior gives an upper bound. Only simulated data have such draws.

Source: Neal, "Annealed importance sampling", 1998, https://arxiv.org/abs/physics/9803008; Wu,
Burda, Salakhutdinov and Grosse, "On the quantitative analysis of decoder-based generative models",
2017, https://arxiv.org/abs/1611.04273; Grosse, Ghahramani and Adams, "Sandwiching the marginal
likelihood using bidirectional Monte Carlo", 2015, https://arxiv.org/abs/1511.02543.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.evaluation.bounds import decoded_at_once, log_likelihood
from pyro_vae.evaluation.estimates import FEW_CHAINS, SPREAD_NATS
from pyro_vae.models.vae import VAE
from pyro_vae.names import check_name
from pyro_vae.notices import Progress, no_progress
from pyro_vae.randomness import seeded

ACCEPTANCE = 0.65  # the acceptance rate to which step sizes are tuned
PILOT_CHAINS = 4
STARTS = ("prior", "posterior")


@dataclass(frozen=True)
class Annealing:
    """The settings of annealed importance sampling.

    Args:
        num_temperatures: the number of steps from the start to the posterior, each with a
            Hamiltonian transition. The step sizes, one per image and temperature, come from a
            separate pilot run.
        num_chains: the number of chains whose weights are averaged.
        num_leapfrog: the number of gradients of a transition.
        start: `prior`, or `posterior` for q(z|x).
        score: `levels` or `density`, the measure by which images are scored.

    Raises:
        ValueError: if the start is unknown.
    """

    num_temperatures: int = 1000
    num_chains: int = 16
    num_leapfrog: int = 5
    start: str = "prior"
    score: str = "levels"

    def __post_init__(self):
        check_name("start", self.start, STARTS)

    @property
    def temperatures(self) -> list[float]:
        """Return the temperatures 0 = t_0 < ... < t_T = 1 on a logistic curve.

        They are dense at both ends, where the densities change fast.
        """
        s = torch.sigmoid(torch.linspace(-4, 4, self.num_temperatures + 1, dtype=torch.float64))
        return ((s - s[0]) / (s[-1] - s[0])).tolist()


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


class Position(NamedTuple):
    """Where chains are: their codes, the log densities there, and the gradients of these."""

    z: Tensor  # (chains, N, latent_dim)
    start: Tensor  # log p0(z), (chains, N)
    ratio: Tensor  # log p(x, z) / p0(z), the derivative of the log density along the path
    start_gradient: Tensor  # (chains, N, latent_dim), like the next one
    ratio_gradient: Tensor

    def gradient(self, t: float) -> Tensor:
        """Return the gradient of the log density at temperature t, (chains, N, latent_dim)."""
        return self.start_gradient + t * self.ratio_gradient

    def where(self, taken: Tensor, other: "Position") -> "Position":
        """Return this position where `taken` (chains, N) is true, and the other one elsewhere."""
        return Position(
            *(
                torch.where(taken.view(*taken.shape, *[1] * (mine.ndim - 2)), mine, its)
                for mine, its in zip(self, other)
            )
        )


class TemperedPath:
    """The path of tempered densities of a batch of images, and transitions along it."""

    def __init__(self, vae: VAE, x: Tensor, annealing: Annealing):
        self.vae, self.x, self.annealing = vae, x, annealing
        with torch.no_grad():
            self.prior: TorchDistribution = vae.prior  # once: a VampPrior encodes images for it
            self.start = self.prior if annealing.start == "prior" else vae.encode(x)

    def draw(self, num_chains: int) -> Position:
        """Draw exact codes from the start."""
        shape = (num_chains,) if self.start.batch_shape else (num_chains, len(self.x))
        return self.position(self.start.sample(shape))

    def position(self, z: Tensor) -> Position:
        """Return the position of chains at codes z (chains, N, latent_dim)."""
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            start = self.start.log_prob(z)
            likelihood = log_likelihood(self.vae, self.x, z, self.annealing.score)
            joint = likelihood + self.prior.log_prob(z)
            (start_gradient,) = torch.autograd.grad(start.sum(), z)
            (joint_gradient,) = torch.autograd.grad(joint.sum(), z)
        z, start, joint = z.detach(), start.detach(), joint.detach()
        return Position(z, start, joint - start, start_gradient, joint_gradient - start_gradient)

    def move(self, at: Position, t: float, step_size: Tensor) -> tuple[Position, Tensor]:
        """Make one Hamiltonian transition that leaves the density at t invariant.

        It returns the new position and the acceptance probabilities (chains, N).
        """
        new, step = at, step_size.unsqueeze(-1)
        momentum = torch.randn_like(at.z)
        energy = momentum.square().sum(-1) / 2 - at.start - t * at.ratio
        for _ in range(self.annealing.num_leapfrog):
            momentum = momentum + step / 2 * new.gradient(t)
            new = self.position(new.z + step * momentum)
            momentum = momentum + step / 2 * new.gradient(t)
        after = momentum.square().sum(-1) / 2
        change = energy - after + new.start + t * new.ratio
        accept = change.nan_to_num(-math.inf).clamp_max(0).exp()
        taken = torch.rand_like(accept) < accept
        return new.where(taken, at), accept


def _tune(path: TemperedPath, progress: Progress) -> Tensor:
    """Return step sizes (temperatures - 1, N), tuned per image to the acceptance rate in a pilot run."""
    at, ts = path.draw(PILOT_CHAINS), path.annealing.temperatures
    step_size, sizes = torch.full_like(at.ratio[0], 0.5), []
    for k, t in enumerate(ts[1:-1]):
        sizes.append(step_size)
        at, accept = path.move(at, t, step_size)
        step_size = step_size * torch.exp(0.2 * (accept.mean(0) - ACCEPTANCE))
        progress(k + 1, len(ts) - 2, "temperatures")
    return torch.stack(sizes) if sizes else step_size.new_empty(0, len(step_size))


def _anneal(
    path: TemperedPath, at: Position, ts: list[float], sizes: Tensor, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Return log weights (chains, N) along ts, upwards or downwards, and the mean acceptance (N,)."""
    log_weights, accepted = torch.zeros_like(at.ratio), torch.zeros_like(at.ratio[0])
    for k, (t, after) in enumerate(zip(ts, ts[1:])):
        log_weights = log_weights + (after - t) * at.ratio
        if k < len(sizes):
            at, accept = path.move(at, after, sizes[k])
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
    at_once = max(1, 8 * decoded_at_once(vae) // annealing.num_chains)
    batches = []
    with pyro.validation_enabled(False):
        for first in range(0, len(images), at_once):
            rows = slice(first, first + at_once)
            path = TemperedPath(vae, images[rows], annealing)
            codes = None if z is None else z[rows]
            batches.append(_runs(path, codes, progress))
    return [Annealed(*map(torch.cat, zip(*column))) for column in zip(*batches)]


def _runs(path: TemperedPath, z: Tensor | None, progress: Progress) -> list[Annealed]:
    """Return the forward run of a batch and, if the exact codes z are given, the backward run."""
    ts, sizes = path.annealing.temperatures, _tune(path, progress)
    start = path.draw(path.annealing.num_chains)
    runs = [_bound(*_anneal(path, start, ts, sizes, progress))]
    if z is not None:
        end = path.position(z.expand(path.annealing.num_chains, -1, -1))
        backward = _bound(*_anneal(path, end, ts[::-1], sizes.flip(0), progress))  # of 1 / p(x)
        unknown = torch.full_like(backward.standard_error, math.nan)
        runs.append(backward._replace(log_prob=-backward.log_prob, standard_error=unknown))
    return runs


def _bound(log_weights: Tensor, acceptance: Tensor) -> Annealed:
    log_mean, error, size = log_mean_weight(log_weights)
    return Annealed(log_mean, error, size, acceptance, *shortfall(log_weights, log_mean, error))
