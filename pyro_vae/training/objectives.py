"""Objectives of training, each as Pyro's own ELBO and as a sum over sites without a device sync.

A model and a guide take `(x, beta)`. A loss is in nats per image: it is a sum over pixels and
latent components, and a mean over the batch. The form without a sync calls no `.item()` and checks
for no NaN. It runs the same handlers as Pyro's form and equals it to rounding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pyro.distributions import Delta, MultivariateNormal, TorchDistribution
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor

from pyro_vae.models.elbo import component_rates, rate_of
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded
from pyro_vae.training.importance import ESTIMATORS, Estimator, ImportanceELBO
from pyro_vae.training.programs import (
    Program,
    Sites,
    check_per_image,
    check_programs,
    check_repeats,
    held,
    log_probs,
    trace_programs,
)

ONE_PLATE: dict = {"max_plate_nesting": 1, "vectorize_particles": True}  # that of the images


class Terms(NamedTuple):
    """The loss, rate and distortion of a minibatch in nats per image, as means over the batch.

    Rate and distortion are those at beta = 1, whatever beta was. The rate is the objective's own
    estimate, drawn or in closed form. It is NaN where q is a point.
    """

    loss: Tensor
    rate: Tensor
    distortion: Tensor


class Objective(ABC):
    """A loss in two forms that agree: `estimator` defines it, and `terms` sums it without a sync."""

    any_beta = True  # whether it is defined for betas other than the number 1

    @abstractmethod
    def estimator(self, num_particles: int, batch_size: int) -> ELBO | None:
        """Return Pyro's estimator, for programs that `per_image` scales; None where it has none.

        Raises:
            ValueError: the objective is not defined for so many draws.
        """

    @abstractmethod
    def score(self, guide_sites: Sites, model_sites: Sites) -> Terms:
        """Return the terms of one run of guide and model, from the sites of both."""

    def terms(
        self,
        model: Program,
        guide: Program,
        x: Tensor,
        beta: float | Tensor,
        num_particles: int = 1,
    ) -> Terms:
        """Return the terms of one minibatch x (B, C, H, W); only the loss has gradients.

        Raises:
            ValueError: a beta that the objective is not defined for.
        """
        self.check_beta(beta)
        return self.score(*trace_programs(model, guide, x, beta, num_particles))

    def check_beta(self, beta: float | Tensor) -> None:
        """Raise a ValueError unless the objective is defined for a beta."""
        if not self.any_beta and (isinstance(beta, Tensor) or beta != 1):
            raise ValueError(f"beta: a scaled importance bound is no bound, got {beta}, not 1")

    def check(self, model: Program, guide: Program, x: Tensor) -> None:
        """Raise a ValueError unless `terms` has, on a minibatch, the gradients that it should have."""


def _means(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.mean() for name, value in values.items()}


def _weighted(means: dict[str, Tensor], values: dict[str, Tensor], sites: Sites) -> Tensor | float:
    """Return the sum of the sites' means, each site scaled and masked as its handlers say."""
    total = 0.0
    for name, mean in means.items():
        scale, mask = sites[name]["scale"], sites[name]["mask"]
        if isinstance(mask, Tensor) or isinstance(scale, Tensor):
            total = total + scale_and_mask(values[name], scale, mask).mean()
        elif mask is not False:
            total = total + (mean if scale == 1 else mean * scale)
    return total


def _terms(loss: Tensor, rate: Tensor, log_likelihood: Tensor, guide_sites: Sites) -> Terms:
    bases = [getattr(site["fn"], "base_dist", site["fn"]) for site in guide_sites.values()]
    if any(isinstance(base, Delta) for base in bases):
        rate = torch.full_like(loss, math.nan)
    return Terms(loss, rate.detach(), -log_likelihood.detach())


class Elbo(Objective):
    """The loss distortion + beta * (log q - log p) at the drawn z, as in `Trace_ELBO`."""

    def estimator(self, num_particles, batch_size):
        return Trace_ELBO(num_particles, **ONE_PLATE)

    def score(self, guide_sites, model_sites):
        log_p, log_q = log_probs(model_sites), log_probs(guide_sites)
        p, q = _means(log_p), _means(log_q)
        loss = _weighted(q, log_q, guide_sites) - _weighted(p, log_p, model_sites)
        return _terms(loss, *_drawn(p, q), guide_sites)


def _drawn(p: dict[str, Tensor], q: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return rate and log likelihood.

    Args:
        p: means of log p of all sites.
        q: means of log q of the latent sites.
    """
    rate = sum(q.values()) - sum(p[name] for name in q)
    return rate, sum(mean for name, mean in p.items() if name not in q)


class ElboAnalytic(Objective):
    """The loss distortion + beta * rate, with the rate in closed form, as in `TraceMeanField_ELBO`.

    Args:
        free_bits: nats of each component's rate, as a mean over a minibatch, that cost nothing.

    Source of the free bits: Kingma et al., "Improving variational inference with inverse
    autoregressive flow", 2016, https://arxiv.org/abs/1606.04934.
    """

    def __init__(self, free_bits: float = 0.0):
        self.free_bits = free_bits

    def estimator(self, num_particles, batch_size):
        if self.free_bits:
            return None
        return TraceMeanField_ELBO(num_particles, **ONE_PLATE)

    def score(self, guide_sites, model_sites):
        log_p = log_probs({n: s for n, s in model_sites.items() if s["is_observed"]})
        kl = {n: rate_of(s["fn"], model_sites[n]["fn"], s["value"]) for n, s in guide_sites.items()}
        p, rates = _means(log_p), _means(kl)
        if self.free_bits:
            kl = {n: self._charged(s["fn"], model_sites[n]["fn"]) for n, s in guide_sites.items()}
        charged = _means(kl) if self.free_bits else rates
        loss = _weighted(charged, kl, guide_sites) - _weighted(p, log_p, model_sites)
        return _terms(loss, sum(rates.values()), sum(p.values()), guide_sites)

    @torch.no_grad()
    def check(self, model, guide, x):
        self.terms(model, guide, x, 1.0)

    def _charged(self, q: TorchDistribution, p: TorchDistribution) -> Tensor:
        """Return the rate that is charged for: of each component the mean, or the free bits if more."""
        rates = component_rates(q, p)
        if rates is None or isinstance(q, MultivariateNormal):
            raise ValueError("free_bits: need a posterior and a prior of independent Normals")
        return rates.flatten(0, -2).mean(0).clamp_min(self.free_bits).sum()


class Iwae(Objective):
    """The negative importance-weighted bound with `num_particles` samples, as in `RenyiELBO(alpha=0)`.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """

    any_beta = False

    def estimator(self, num_particles, batch_size):
        # The programs are scaled by 1 / B. The order 1 - B undoes this scale inside the logarithm
        # and keeps it outside. The result is RenyiELBO(alpha=0) of the unscaled programs, over B.
        return RenyiELBO(1 - batch_size, num_particles, **ONE_PLATE)

    def score(self, guide_sites, model_sites):
        log_p, log_q = log_probs(model_sites), log_probs(guide_sites)
        log_weights = _particles(sum(log_p.values()) - sum(log_q.values()))
        loss = math.log(len(log_weights)) - torch.logsumexp(log_weights, 0).mean()
        return _terms(loss, *_drawn(_means(log_p), _means(log_q)), guide_sites)

    def check(self, model, guide, x):
        check_per_image(model, guide, x)


class Importance(Objective):
    """The negative importance-weighted bound of an estimator of `pyro_vae.training.importance`.

    Where the estimator holds draws, programs run a second time at them, and must do the same.
    """

    def __init__(self, by: Estimator):
        self.by, self.any_beta = by, by.linear

    def estimator(self, num_particles, batch_size):
        return ImportanceELBO(self.by, num_particles=num_particles, **ONE_PLATE)

    def score(self, guide_sites, model_sites, again: tuple[Sites, Sites] | None = None):
        log_p, log_q = _scaled(model_sites), _scaled(guide_sites)
        held = (_scaled(again[1]), _scaled(again[0])) if again else None
        loss = -self.by.bound(log_p, log_q, held).mean()
        p, q = _means(log_probs(model_sites)), _means(log_probs(guide_sites))
        return _terms(loss, *_drawn(p, q), guide_sites)

    def terms(self, model, guide, x, beta, num_particles=1):
        self.check_beta(beta)
        sites = trace_programs(model, guide, x, beta, num_particles)
        if not self.by.holds:
            return self.score(*sites)
        again = trace_programs(model, guide, x, beta, num_particles, given=held(sites[0]))
        return self.score(*sites, again)

    def check(self, model, guide, x):
        if not self.any_beta:
            check_per_image(model, guide, x)
        if self.by.holds:
            check_repeats(model, guide, x)


def _scaled(sites: Sites) -> Tensor:
    """Return the log probability of all sites (K, B), scaled and masked as the handlers say."""
    values = log_probs(sites)
    return _particles(
        sum(scale_and_mask(values[n], s["scale"], s["mask"]) for n, s in sites.items())
    )


def _particles(values: Tensor) -> Tensor:
    """Return values (K, B) of K particles, given those or the values (B,) of a single one."""
    return values.unsqueeze(0) if values.dim() == 1 else values


OBJECTIVES: dict[str, Objective] = {
    "elbo": Elbo(),
    "elbo_analytic": ElboAnalytic(),
    "stl": Importance(ESTIMATORS["stl"]),
    "iwae": Iwae(),
    "dreg": Importance(ESTIMATORS["dreg"]),
    "miwae": Importance(ESTIMATORS["miwae"]),
    "piwae": Importance(ESTIMATORS["piwae"]),
    "ciwae": Importance(ESTIMATORS["ciwae"]),
}


@contextmanager
def training_mode(model: VAE) -> Iterator[None]:
    """Put the model in `train` mode inside the block, and in `eval` mode after it."""
    model.train()
    try:
        yield
    finally:
        model.eval()


@dataclass(frozen=True)
class Loss:
    """What training minimises: an objective of the two programs of a model.

    Args:
        model: whose parameters are trained.
        objective: one of `OBJECTIVES`, or of your own.
        num_particles: draws of z per image.
        bf16: whether the networks compute in bfloat16.
    """

    model: VAE
    objective: Objective
    num_particles: int = 1
    bf16: bool = False

    def __post_init__(self):
        self.estimator(1)  # raises where it is not defined for so many draws

    def autocast(self) -> AbstractContextManager:
        """Return the context in which the programs run."""
        device = self.model.device.type
        return torch.autocast(device, torch.bfloat16) if self.bf16 else nullcontext()

    def estimator(self, batch_size: int) -> ELBO | None:
        """Return Pyro's estimator for minibatches of a size; None where there is none."""
        return self.objective.estimator(self.num_particles, batch_size)

    def terms(self, x: Tensor, beta: float | Tensor, labels: Tensor | None = None) -> Terms:
        """Return the terms of a minibatch x (B, C, H, W), without a sync.

        Args:
            labels: (B,), of a conditional model.
        """
        with self.model.given(labels).unregistered() as vae:
            return self.objective.terms(vae.model, vae.guide, x, beta, self.num_particles)

    def check(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Raise a ValueError for programs that need Pyro's own estimators, or another objective."""
        vae = self.model.given(labels)
        with seeded(0, x.device), vae.unregistered(), torch.no_grad():
            check_programs(vae.model, vae.guide, x, vae.parameters())
        self.check_objective(x, labels)

    def check_objective(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Raise a ValueError unless the objective has the right gradients on a minibatch."""
        vae = self.model.given(labels)
        with seeded(0, x.device), vae.unregistered(), training_mode(vae):
            self.objective.check(vae.model, vae.guide, x)
