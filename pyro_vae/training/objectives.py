"""Objectives of training, each as Pyro's own ELBO and as a sum over sites without a device sync.

A model and a guide take `(x, beta)`. A loss is in nats per image: it is a sum over pixels and
latent components, and a mean over the batch. The form without a sync calls no `.item()` and checks
for no NaN. It runs the same handlers as Pyro's form and equals it to rounding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from pyro_vae.models.elbo import rate_of
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.randomness import seeded

Program = Callable[..., object]
Sites = dict[str, dict]


class Terms(NamedTuple):
    """The loss, rate and distortion of a minibatch in nats per image, as means over the batch.

    Rate and distortion are those at beta = 1, whatever beta was. The rate is the objective's own
    estimate, drawn or in closed form. It is NaN where q is a point.
    """

    loss: Tensor
    rate: Tensor
    distortion: Tensor


def per_image(program: Program) -> Program:
    """Return the program scaled by one over the number of images, its first argument's length."""

    def scaled(x: Tensor, *args, **kwargs):
        with poutine.scale(scale=1 / x.shape[0]):
            return program(x, *args, **kwargs)

    return scaled


class Recorder(Messenger):
    """A handler that keeps a program's sample sites, and replays the values of sites in `given`.

    It does the work of `poutine.trace` and `poutine.replay` in one handler and skips params, since
    handlers take most of the time of a small model's step.
    """

    def __init__(self, given: Sites | None = None):
        super().__init__()
        self.given, self.sites = given or {}, {}

    def __enter__(self):
        self.sites = {}
        return super().__enter__()

    def _pyro_sample(self, message: dict) -> None:
        if message["name"] in self.given and not message["is_observed"]:
            message["value"], message["done"] = self.given[message["name"]]["value"], True

    def _pyro_post_sample(self, message: dict) -> None:
        if type(message["fn"]) is not _Subsample:
            self.sites[message["name"]] = message


def trace_programs(
    model: Program, guide: Program, x: Tensor, beta: float | Tensor, num_particles: int = 1
) -> tuple[Sites, Sites]:
    """Return the sites of the guide, and of the model at the guide's draws.

    With several particles, the first dimension of all shapes is the particle.
    """
    if num_particles > 1:
        plate = pyro.plate("num_particles_vectorized", num_particles, dim=-2)
        model, guide = plate(model), plate(guide)
    with Recorder() as drawn:
        guide(x, beta)
    with Recorder(given=drawn.sites) as scored:
        model(x, beta)
    return drawn.sites, scored.sites


def check_programs(model: Program, guide: Program, x: Tensor, parameters: Iterable[Tensor]) -> None:
    """Check that the sum over sites has the gradients of Pyro's own estimators.

    Raises:
        ValueError: a draw of the guide that is not reparameterised, so that a score function term
            would be missing; a parameter of a program that is not among the trained ones.
    """
    drawn = poutine.trace(guide).get_trace(x, 1.0)
    scored = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(x, 1.0)
    for name in drawn.stochastic_nodes:
        fn = drawn.nodes[name]["fn"]
        if type(fn) is not _Subsample and not fn.has_rsample:
            raise ValueError(f"guide: {name} has no reparameterised draws; use the engine svi")
    trained = {id(p) for p in parameters}
    for site in (*drawn.nodes.values(), *scored.nodes.values()):
        if site["type"] == "param" and id(site["value"].unconstrained()) not in trained:
            raise ValueError(f"param: {site['name']} is none of the model's; use the engine svi")


class Objective(ABC):
    """A loss in two forms that agree: `estimator` defines it, and `terms` sums it without a sync."""

    any_beta = True  # whether it is defined for betas other than the number 1

    @staticmethod
    @abstractmethod
    def estimator(num_particles: int, batch_size: int) -> ELBO:
        """Return Pyro's estimator, for programs that `per_image` scales."""

    @staticmethod
    @abstractmethod
    def score(guide_sites: Sites, model_sites: Sites) -> Terms:
        """Return the terms of one run of guide and model, from the sites of both."""

    @classmethod
    def terms(
        cls, model: Program, guide: Program, x: Tensor, beta: float | Tensor, num_particles: int = 1
    ) -> Terms:
        """Return the terms of one minibatch x (B, C, H, W); only the loss has gradients.

        Raises:
            ValueError: a beta that the objective is not defined for.
        """
        if not cls.any_beta and (isinstance(beta, Tensor) or beta != 1):
            raise ValueError(f"beta: a scaled importance bound is no bound, got {beta}, not 1")
        return cls.score(*trace_programs(model, guide, x, beta, num_particles))


def _log_probs(sites: Sites) -> dict[str, Tensor]:
    """Return the log probability of every site's value, per image, neither scaled nor masked."""
    return {name: site["fn"].log_prob(site["value"]) for name, site in sites.items()}


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

    @staticmethod
    def estimator(num_particles, batch_size):
        return Trace_ELBO(num_particles, max_plate_nesting=1, vectorize_particles=True)

    @staticmethod
    def score(guide_sites, model_sites):
        log_p, log_q = _log_probs(model_sites), _log_probs(guide_sites)
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
    """The loss distortion + beta * rate, with the rate in closed form, as in `TraceMeanField_ELBO`."""

    @staticmethod
    def estimator(num_particles, batch_size):
        return TraceMeanField_ELBO(num_particles, max_plate_nesting=1, vectorize_particles=True)

    @staticmethod
    def score(guide_sites, model_sites):
        log_p = _log_probs({n: s for n, s in model_sites.items() if s["is_observed"]})
        kl = {n: rate_of(s["fn"], model_sites[n]["fn"], s["value"]) for n, s in guide_sites.items()}
        p, rates = _means(log_p), _means(kl)
        loss = _weighted(rates, kl, guide_sites) - _weighted(p, log_p, model_sites)
        return _terms(loss, sum(rates.values()), sum(p.values()), guide_sites)


class Iwae(Objective):
    """The negative importance-weighted bound with `num_particles` samples, as in `RenyiELBO(alpha=0)`.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """

    any_beta = False

    @staticmethod
    def estimator(num_particles, batch_size):
        # The programs are scaled by 1 / B. The order 1 - B undoes this scale inside the logarithm
        # and keeps it outside. The result is RenyiELBO(alpha=0) of the unscaled programs, over B.
        return RenyiELBO(
            alpha=1 - batch_size,
            num_particles=num_particles,
            max_plate_nesting=1,
            vectorize_particles=True,
        )

    @staticmethod
    def score(guide_sites, model_sites):
        log_p, log_q = _log_probs(model_sites), _log_probs(guide_sites)
        log_weights = sum(log_p.values()) - sum(log_q.values())
        if log_weights.dim() == 1:  # a single particle
            log_weights = log_weights.unsqueeze(0)
        loss = math.log(len(log_weights)) - torch.logsumexp(log_weights, 0).mean()
        return _terms(loss, *_drawn(_means(log_p), _means(log_q)), guide_sites)


OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": Elbo,
    "elbo_analytic": ElboAnalytic,
    "iwae": Iwae,
}


@dataclass(frozen=True)
class Loss:
    """What training minimises: an objective of the two programs of a model.

    Args:
        model: whose parameters are trained.
        objective: the class of the objective.
        num_particles: draws of z per image.
        bf16: whether the networks compute in bfloat16.
    """

    model: LatentImageModel
    objective: type[Objective]
    num_particles: int = 1
    bf16: bool = False

    def autocast(self) -> AbstractContextManager:
        """Return the context in which the programs run."""
        device = self.model.device.type
        return torch.autocast(device, torch.bfloat16) if self.bf16 else nullcontext()

    def terms(self, x: Tensor, beta: float | Tensor) -> Terms:
        """Return the terms of a minibatch x (B, C, H, W), without a sync."""
        programs = self.model.model, self.model.guide
        with self.model.unregistered():
            return self.objective.terms(*programs, x, beta, self.num_particles)

    def check(self, x: Tensor) -> None:
        """Check on a minibatch that the programs do not need Pyro's own estimators.

        Raises:
            ValueError: programs that need them.
        """
        with seeded(0, x.device), self.model.unregistered(), torch.no_grad():
            check_programs(self.model.model, self.model.guide, x, self.model.parameters())
