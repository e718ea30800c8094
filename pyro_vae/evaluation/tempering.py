"""Chains along tempered densities, from the prior or from close to q(z|x) to the posterior.

The density at temperature t is `p0(z)^(1-t) p(x, z)^t`, with the density p0 of the start. What the
chains need is chosen by pilot runs: step sizes, and the Normal at which they start.

Source: Neal, "MCMC using Hamiltonian dynamics", 2011, https://arxiv.org/abs/1206.1901; Horowitz, "A
generalized guided Monte Carlo algorithm", 1991, https://doi.org/10.1016/0370-2693(91)90812-5.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.evaluation.joint import Joint
from pyro_vae.likelihoods.derivatives import with_slope
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.likelihoods.special import LOG_2PI
from pyro_vae.names import check_name
from pyro_vae.notices import Progress

ACCEPTANCE = 0.8  # the acceptance rate to which step sizes are tuned
KEPT_MOMENTUM = 0.8  # of a chain's momentum, for each leapfrog step of a transition
PILOT_CHAINS = 4
FLOOR = 1e-4  # of a fitted Normal's variances, in those of q
TUNED = 100  # temperatures of a pilot run at least, where there are as many
STARTS = ("prior", "posterior")


@dataclass(frozen=True)
class Annealing:
    """The settings of annealed importance sampling.

    Args:
        num_temperatures: the number of steps from the start to the posterior, each with a
            Hamiltonian transition. The step sizes, one per image and temperature, come from a
            separate pilot run. What pilot runs choose leaves weights unbiased.
        num_chains: the number of chains whose weights are averaged.
        num_leapfrog: the number of gradients of a transition.
        start: `prior`; or `posterior` for a Normal that is fitted to a pilot run from q(z|x), so that
            correlations and scales which q misses cost few temperatures.
        score: `levels` or `density`, the measure by which images are scored.

    Raises:
        ValueError: if the start is unknown.
    """

    num_temperatures: int = 1000
    num_chains: int = 16
    num_leapfrog: int = 1
    start: str = "prior"
    score: str = "levels"

    def __post_init__(self):
        check_name("start", self.start, STARTS)

    @property
    def codes_per_image(self) -> int:
        """Return about how many codes are scored for an image, those of two pilot runs too."""
        moved = self.num_chains * self.num_temperatures + 2 * PILOT_CHAINS * TUNED
        return self.num_leapfrog * moved

    @property
    def temperatures(self) -> list[float]:
        """Return the temperatures 0 = t_0 < ... < t_T = 1 on a logistic curve.

        They are dense at both ends, where the densities change fast.
        """
        s = torch.sigmoid(torch.linspace(-4, 4, self.num_temperatures + 1, dtype=torch.float64))
        return ((s - s[0]) / (s[-1] - s[0])).tolist()


class Position(NamedTuple):
    """Where chains are: their coordinates, the log densities there, and the gradients of these."""

    u: Tensor  # (chains, N, latent_dim)
    start: Tensor  # log p0(u), (chains, N)
    ratio: Tensor  # log p(x, u) / p0(u), the derivative of the log density along the path
    start_gradient: Tensor  # (chains, N, latent_dim), like the next one
    ratio_gradient: Tensor

    def gradient(self, t: float) -> Tensor:
        """Return the gradient of the log density at temperature t, (chains, N, latent_dim)."""
        return torch.add(self.start_gradient, self.ratio_gradient, alpha=t)

    def where(self, taken: Tensor, other: "Position") -> "Position":
        """Return this position where `taken` (chains, N) is true, and the other one elsewhere."""
        return Position(
            *(
                torch.where(taken.view(*taken.shape, *[1] * (mine.ndim - 2)), mine, its)
                for mine, its in zip(self, other)
            )
        )


class Chains(NamedTuple):
    """Chains on their way: where they are, and their momenta (chains, N, latent_dim)."""

    at: Position
    momentum: Tensor


class TemperedPath:
    """The path of tempered densities of a batch of images, and transitions along it.

    Chains have coordinates u with codes z = loc + factor u, in which the start is the standard Normal;
    from the prior, u = z. All densities are those of u.

    Args:
        loc, factor: (N, latent_dim) and (N, latent_dim, latent_dim), lower triangular; of the Normal
            at which chains start, and where there is none, they start at the prior.
    """

    def __init__(
        self,
        joint: Joint,
        x: Tensor,
        annealing: Annealing,
        loc: Tensor | None = None,
        factor: Tensor | None = None,
    ):
        self.joint, self.x, self.annealing, self.loc, self.factor = joint, x, annealing, loc, factor
        self.start: TorchDistribution = joint.prior
        if factor is not None:
            self.log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        if loc is not None:
            self.start = Normal(torch.zeros_like(loc), torch.ones_like(loc)).to_event(1)

    def codes(self, u: Tensor) -> Tensor:
        """Return the codes at coordinates u (chains, N, latent_dim)."""
        if self.loc is None or self.factor is None:
            return u
        return self.loc + _times(self.factor, u)

    def draw(self, num_chains: int) -> Chains:
        """Draw exact coordinates from the start."""
        shape = (num_chains,) if self.start.batch_shape else (num_chains, len(self.x))
        return self.chains(self.start.sample(shape))

    def chains(self, u: Tensor) -> Chains:
        """Return chains at coordinates u (chains, N, latent_dim), with new momenta."""
        return Chains(self.position(u), torch.randn_like(u))

    def position(self, u: Tensor) -> Position:
        """Return the position of chains at coordinates u (chains, N, latent_dim)."""
        joint, gradient = self.joint(self.x, self.codes(u))
        if self.factor is not None:
            joint, gradient = joint + self.log_det, _times(self.factor.mT, gradient)
        start, start_gradient = self._start(u)
        return Position(u, start, joint - start, start_gradient, gradient - start_gradient)

    def _start(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p0(u), nats (chains, N), and its gradient (chains, N, latent_dim)."""
        if self.loc is not None or self.joint.vae.standard_prior:
            return -(u.square().sum(-1) + u.shape[-1] * LOG_2PI) / 2, -u
        with torch.enable_grad():
            return with_slope(self.start.log_prob, u)

    def move(self, chains: Chains, t: float, step_size: Tensor) -> tuple[Chains, Tensor]:
        """Make one Hamiltonian transition that leaves the density at t invariant.

        It returns the chains and the acceptance probabilities (chains, N). A part of the momentum is
        kept, so that few leapfrog steps still lead far; a rejected move turns it round.
        """
        at, step = chains.at, step_size.unsqueeze(-1)
        kept = KEPT_MOMENTUM**self.annealing.num_leapfrog
        noise = torch.randn_like(at.u)
        before = momentum = kept * chains.momentum + math.sqrt(1 - kept**2) * noise
        new, share = at, 1 / 2
        for _ in range(self.annealing.num_leapfrog):
            momentum = momentum + share * step * new.gradient(t)
            new, share = self.position(new.u + step * momentum), 1
        momentum = momentum + step / 2 * new.gradient(t)
        kinetic = (before.square() - momentum.square()).sum(-1) / 2
        change = kinetic + new.start - at.start + t * (new.ratio - at.ratio)
        accept = change.nan_to_num(-math.inf).clamp_max(0).exp()
        taken = torch.rand_like(accept) < accept
        momentum = torch.where(taken.unsqueeze(-1), momentum, -before)
        return Chains(new.where(taken, at), momentum), accept


def _times(matrices: Tensor, u: Tensor) -> Tensor:
    """Return the products of matrices (N, D, D) and coordinates (chains, N, D), as these."""
    return torch.bmm(u.transpose(0, 1), matrices.mT).transpose(0, 1)


def tune(path: TemperedPath, progress: Progress) -> tuple[Tensor, Tensor]:
    """Return step sizes (temperatures - 1, N), tuned per image to the acceptance rate in a pilot run.

    It also returns the codes of the second half of the run, (draws, N, latent_dim).
    """
    chains, ts = path.draw(PILOT_CHAINS), path.annealing.temperatures[1:-1]
    every = max(1, len(ts) // TUNED)
    step_size = torch.full_like(chains.at.ratio[0], 0.5)
    sizes, codes = step_size.new_empty(len(ts), len(step_size)), [path.codes(chains.at.u)]
    for k, t in enumerate(ts):
        sizes[k] = step_size
        if k % every == 0:
            chains, accept = path.move(chains, t, step_size)
            step_size = step_size * torch.exp(0.2 * (accept.mean(0) - ACCEPTANCE))
            codes.append(path.codes(chains.at.u))
        progress(k + 1, len(ts), "temperatures")
    return sizes, torch.cat(codes[len(codes) // 2 :])


@torch.no_grad()
def path_of(joint: Joint, x: Tensor, annealing: Annealing, progress: Progress) -> TemperedPath:
    """Return the path from the prior, or from a Normal that is fitted to a pilot run.

    The pilot run starts at the Normal with independent components that has the moments of q(z|x).
    """
    if annealing.start == "prior":
        return TemperedPath(joint, x, annealing)
    q = joint.vae.encode(x)
    loc, scale = q.mean, q.variance.sqrt()
    longer = replace(annealing, num_temperatures=max(TUNED, annealing.num_temperatures))
    pilot = TemperedPath(joint, x, longer, loc, torch.diag_embed(scale))
    _, codes = tune(pilot, progress)
    loc, factor = fitted_normal((codes - loc) / scale)
    return TemperedPath(joint, x, annealing, q.mean + scale * loc, scale.unsqueeze(-1) * factor)


def fitted_normal(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return means (N, D) and Cholesky factors of covariances (N, D, D) of draws (count, N, D).

    The fewer draws there are for each component, the more are correlations shrunk and variances
    raised, since weights have heavy tails where the start is too narrow.
    """
    count, _, size = draws.shape
    loc = draws.mean(0)
    off = draws - loc
    covariance = torch.einsum("kni,knj->nij", off, off) / (count - 1)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    few = size / (size + count / 2)
    covariance = (1 + few) * covariance.lerp(torch.diag_embed(variance), few)
    covariance.diagonal(dim1=-2, dim2=-1).add_(FLOOR)
    return loc, torch.linalg.cholesky_ex(covariance).L
