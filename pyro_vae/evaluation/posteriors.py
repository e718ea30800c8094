"""Diagnostics of q(z | x): importance weights, a reference by NUTS, simulation-based calibration."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import MCMC, NUTS
from torch import Tensor

from pyro_vae.evaluation.bounds import decoded_at_once, log_likelihood, log_weights
from pyro_vae.evaluation.estimates import UNRELIABLE_K_HAT
from pyro_vae.evaluation.significance import holm, uniform_rank_p_values
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import VAE
from pyro_vae.notices import Progress, no_progress
from pyro_vae.randomness import seeded

if TYPE_CHECKING:
    from xarray import DataTree

COVERAGES = (0.5, 0.9)


class ParetoFit(NamedTuple):
    """The reliability of importance weights, per image (N,)."""

    k_hat: Tensor  # the shape of their tail: below 0.7 they are reliable
    effective_sample_size: Tensor

    @property
    def unreliable(self) -> int:
        """Return the number of images whose k-hat exceeds 0.7."""
        return int((self.k_hat > UNRELIABLE_K_HAT).sum())


def pareto_fit(log_weights: Tensor) -> ParetoFit:
    """Fit Pareto-smoothed importance sampling to log weights (num_samples, N).

    Constant weights have a k-hat of 0.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", 2015,
    https://arxiv.org/abs/1507.02646.
    """
    columns = log_weights.detach().double().cpu().numpy().T
    smoothed, k_hat = zip(*map(_smooth, columns))
    weights = np.exp(smoothed - np.logaddexp.reduce(smoothed, axis=1, keepdims=True))
    sizes = 1 / np.square(weights).sum(1)
    return ParetoFit(torch.tensor(k_hat, dtype=torch.float64), torch.from_numpy(sizes))


def _smooth(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Return log weights with a smoothed tail, and its shape; a tail without spread is not smoothed."""
    from arviz_stats.base import array_stats  # seconds, most of them for xarray

    if np.ptp(log_weights) < 1e-9:  # rounding errors, to which a shape could be fitted too
        return log_weights, 0.0
    try:
        smoothed, k_hat = array_stats.psislw(-log_weights)  # minus, as ArviZ takes log likelihoods
    except ValueError:  # all tail values are the same
        return log_weights, 0.0
    return smoothed, float(k_hat)


@torch.no_grad()
def importance_diagnostics(
    vae: VAE, images: Tensor, num_samples: int = 1000, seed: int = 0, score: str = "levels"
) -> ParetoFit:
    """Return k-hat and effective sample size of q(z | x) as a proposal, per image (N,).

    Args:
        vae: a VAE in `eval` mode.
        images: (N, C, H, W).
        num_samples: the number of draws per image.
        seed: the seed of the draws.
        score: `levels` or `density`, the measure by which images are scored.

    Raises:
        ValueError: if the family is not a likelihood of such data.
    """
    fits = []
    with seeded(seed, images.device), pyro.validation_enabled(False):
        for x in images.split(max(1, decoded_at_once(vae) // num_samples)):
            fits.append(pareto_fit(log_weights(vae, x, vae.encode(x), num_samples, score)))
    return ParetoFit(*map(torch.cat, zip(*fits)))


# --- a reference ----------------------------------------------------------------------------------


class Reference(NamedTuple):
    """Draws from p(z | x) by NUTS, with diagnostics of their reliability."""

    draws: Tensor  # (chains, draws, N, latent_dim)
    r_hat: Tensor  # (N, latent_dim)
    effective_sample_size: Tensor  # (N, latent_dim)


def nuts_reference(
    vae: VAE,
    images: Tensor,
    num_draws: int = 500,
    num_warmup: int = 300,
    num_chains: int = 2,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Reference:
    """Draw from the posterior of the trained model by Hamiltonian Monte Carlo, with NUTS.

    Chains start at random codes. What they sample is the joint density of `vae.model`, in units of
    the means and scales of q(z|x), so that one step size serves all components from the start.

    Args:
        vae: a VAE in `eval` mode.
        images: (N, C, H, W). N should be small, because the codes of all images move together.
        num_draws: the number of draws per chain.
        num_warmup: the number of steps before them that adapt the sampler.
        num_chains: the number of chains.
        seed: the seed of the first chain; the next chains count up from it.
        progress: a function that receives how many of what are done.

    Source: Hoffman and Gelman, "The No-U-Turn sampler", 2014, https://arxiv.org/abs/1111.4246.
    """
    from arviz_stats.base import array_stats

    with torch.no_grad():
        q = vae.encode(images)
    loc, scale = q.mean, q.variance.sqrt()

    def potential(sites: dict[str, Tensor]) -> Tensor:
        return potential_energy(vae, images, {"z": loc + scale * sites["z"]})

    chains = []
    hook = _counting(progress, num_chains * (num_warmup + num_draws))
    with pyro.validation_enabled(False):
        for chain in range(num_chains):
            with seeded(seed + chain, images.device):
                start = images.new_empty(len(images), vae.latent_dim).uniform_(-2, 2)
                mcmc = MCMC(
                    NUTS(potential_fn=potential),
                    num_draws,
                    warmup_steps=num_warmup,
                    initial_params={"z": (start - loc) / scale},
                    disable_progbar=True,
                    hook_fn=hook,
                )
                mcmc.run()
                chains.append(loc + scale * mcmc.get_samples()["z"])
    draws = torch.stack(chains)
    columns = draws.double().cpu().numpy()
    r_hat = array_stats.rhat(columns, chain_axis=0, draw_axis=1)
    size = array_stats.ess(columns, chain_axis=0, draw_axis=1)
    return Reference(draws, torch.as_tensor(r_hat), torch.as_tensor(size))


def _counting(progress: Progress, total: int) -> Callable[..., None]:
    """Return a hook for Pyro's sampler, which calls it after each step with its state."""
    steps = itertools.count(1)
    return lambda *state: progress(next(steps), total, "NUTS steps")


def potential_energy(vae: VAE, images: Tensor, sites: dict[str, Tensor]) -> Tensor:
    """Return minus the log joint density that `vae.model` declares, nats, a sum over images.

    Pyro's handlers would take half the time of a sampler that calls the program itself.

    Args:
        vae: a VAE in `eval` mode.
        images: (N, C, H, W).
        sites: the codes (N, latent_dim) by the name of their site, `z`.
    """
    z = sites["z"]
    return -(vae.prior.log_prob(z) + log_likelihood(vae, images, z, "density")).sum()


class MomentComparison(NamedTuple):
    """A comparison of q with a reference, (N, latent_dim): 0 and 1 where they agree."""

    shift: Tensor  # of the mean, in standard deviations of the reference
    scale_ratio: Tensor  # standard deviation of q over that of the reference


def compare_moments(q: TorchDistribution, draws: Tensor) -> MomentComparison:
    """Compare means and scales of q, batch shape (N,), with draws (chains, draws, N, latent_dim)."""
    pooled = draws.flatten(0, 1)
    loc, scale = pooled.mean(0), pooled.std(0)
    return MomentComparison((q.mean - loc) / scale, q.variance.sqrt() / scale)


def draws_tree(reference: Reference, q: TorchDistribution, seed: int = 0) -> "DataTree":
    """Return draws of NUTS (group `posterior`) and of q (group `variational`), for ArviZ.

    Args:
        seed: the seed of the draws of q.
    """
    import arviz_base

    with seeded(seed, reference.draws.device), torch.no_grad():
        own = q.sample((reference.draws.shape[1],)).unsqueeze(0)
    groups = {"posterior": reference.draws, "variational": own}
    return arviz_base.from_dict(
        {name: {"z": draws.cpu().numpy()} for name, draws in groups.items()},
        dims={"z": ["image", "latent"]},
    )


# --- calibration ----------------------------------------------------------------------------------


class Calibration(NamedTuple):
    """The ranks of true codes among draws of q; the last column ranks log p(x | z)."""

    ranks: Tensor  # (num_simulations, latent_dim + 1), in 0 ... num_draws
    num_draws: int
    p_values: np.ndarray  # (latent_dim + 1,), adjusted for the number of tests
    coverage: dict[float, Tensor]  # of the central intervals, (latent_dim,) each

    @property
    def p_value(self) -> float:
        """Return the smallest p-value for q being the posterior, over all columns."""
        return float(self.p_values.min())


@torch.no_grad()
def simulation_based_calibration(
    vae: VAE,
    num_simulations: int = 1000,
    num_draws: int = 99,
    num_bins: int = 20,
    seed: int = 0,
    images: Tensor | None = None,
) -> Calibration:
    """Rank codes z of the prior among draws of q(z | x), for images x ~ p(x | z).

    Images are drawn in the family's own space. If q is the posterior, all ranks are uniform. The
    ranks of log p(x | z) detect an error that the others cannot: q = prior. Only the likelihood
    tells such draws of z from the true codes. Equal values are ranked at random.

    An encoder was never trained on images of the prior. With `images`, the codes are draws of
    q(z | x) for these real images instead, and calibration is measured where the encoder is used.
    An exact q is then a little off as well, as far as these codes are not those of the prior.

    Args:
        vae: a VAE in `eval` mode; its decoder does not change.
        num_simulations: the number of codes z; at most that of the images, if they are given.
        num_draws: the number of draws of q(z | x) for each.
        num_bins: the number of bins of the chi-square tests; it must divide num_draws + 1.
        seed: the seed of all draws.
        images: (N, C, H, W), real images whose codes are simulated from (default: the prior's).

    Raises:
        ValueError: if the family is not a likelihood of such data, or the bins do not divide the
            ranks.

    Source: Talts, Betancourt, Simpson, Vehtari and Gelman, "Validating Bayesian inference
    algorithms with simulation-based calibration", 2018, https://arxiv.org/abs/1804.06788; for the
    likelihood's rank Modrak et al., "Simulation-based calibration checking for Bayesian
    computation: the choice of test quantities shapes sensitivity", 2022.
    """
    if not vae.likelihood.is_likelihood:
        raise ValueError("vae: its family is no likelihood of the data, so it simulates others")
    at_once = max(1, decoded_at_once(vae) // (num_draws + 1))
    with seeded(seed, vae.device), pyro.validation_enabled(False):
        if images is None:
            codes = vae.prior.sample((num_simulations,))
        else:
            codes = torch.cat([vae.encode(x).sample() for x in chunks(images[:num_simulations])])
        ranks = torch.cat([_ranks(vae, z, num_draws) for z in codes.split(at_once)])
    p_values = holm(uniform_rank_p_values(ranks.cpu().numpy(), num_draws, num_bins))
    coverage = {c: _covered(ranks[:, :-1], num_draws, c) for c in COVERAGES}
    return Calibration(ranks, num_draws, p_values, coverage)


def _ranks(vae: VAE, z: Tensor, num_draws: int) -> Tensor:
    """Return the ranks (N, latent_dim + 1) of codes z (N, latent_dim) and of their log p(x | z)."""
    x = vae.decode(z).sample()
    draws = vae.encode(x).sample((num_draws,))
    scored = log_likelihood(vae, x, torch.cat([z.unsqueeze(0), draws]), "density")
    of_likelihood = _rank(scored[0], scored[1:])
    return torch.cat([_rank(z, draws), of_likelihood.unsqueeze(-1)], -1)


def _rank(value: Tensor, draws: Tensor) -> Tensor:
    """Return how many of the draws (K, ...) lie under the value (...), with ties broken at random."""
    ties = (draws == value).sum(0)
    return (draws < value).sum(0) + (torch.rand(ties.shape, device=ties.device) * (ties + 1)).long()


def _covered(ranks: Tensor, num_draws: int, coverage: float) -> Tensor:
    """Return the share of true codes inside the central interval, computed from their ranks."""
    u = (ranks + 0.5) / (num_draws + 1)
    return ((u - 0.5).abs() < coverage / 2).double().mean(0)
