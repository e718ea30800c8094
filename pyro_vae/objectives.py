"""What training minimises, once as Pyro's own ELBO and once as a sum over traces without a sync.

A model and a guide take `(x, beta)`. Both are scaled by 1 / B, so that a loss is nats per image;
rate and distortion are reported at beta = 1, whatever beta was. The sync-free form makes no
`.item()` and no NaN check on the way, runs the same handlers, and equals Pyro's to rounding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import kl_divergence

Program = Callable[..., object]
Sites = dict[str, dict]


class Terms(NamedTuple):
    """Nats per image, means over the batch: the loss, and rate and distortion at beta = 1."""

    loss: Tensor
    rate: Tensor
    distortion: Tensor


def per_image(program: Program) -> Program:
    """The program scaled by one over the number of images, its first argument's length."""

    def scaled(x: Tensor, *args, **kwargs):
        with poutine.scale(scale=1 / x.shape[0]):
            return program(x, *args, **kwargs)

    return scaled


class SiteRecorder(Messenger):
    """Keeps the sample sites of a program, after they were drawn or observed."""

    def __enter__(self):
        self.sites: Sites = {}
        return super().__enter__()

    def _pyro_post_sample(self, message: dict) -> None:
        if type(message["fn"]).__name__ != "_Subsample":
            self.sites[message["name"]] = message


def _point(site: dict) -> bool:
    return isinstance(getattr(site["fn"], "base_dist", site["fn"]), Delta)


def rate(guide_sites: Sites, model_sites: Sites) -> Tensor:
    """KL(q(z|x) || p(z)) in closed form, nats, mean over images; NaN where q is a point."""
    latents = [(site["fn"], model_sites[name]["fn"]) for name, site in guide_sites.items()]
    if any(map(_point, guide_sites.values())):
        return latents[0][0].mean.new_full((), math.nan)
    return sum(kl_divergence(q, p).mean() for q, p in latents)


def distortion(log_probs: dict[str, Tensor], model_sites: Sites) -> Tensor:
    """-log p(x|z) at the drawn z, nats, mean over images and particles."""
    return -sum(p.mean() for name, p in log_probs.items() if model_sites[name]["is_observed"])


def _log_probs(sites: Sites) -> dict[str, Tensor]:
    return {name: site["fn"].log_prob(site["value"]) for name, site in sites.items()}


def _scaled(value: Tensor, site: dict) -> Tensor:
    return scale_and_mask(value, site["scale"], site["mask"])


def recorded_terms(loss: Tensor, guide_sites: Sites, model_sites: Sites) -> Terms:
    """The terms of a step whose loss somebody else computed, from the sites that it visited."""
    with torch.no_grad():
        observed = {name: s for name, s in model_sites.items() if s["is_observed"]}
        return Terms(
            loss,
            rate(guide_sites, model_sites),
            distortion(_log_probs(observed), model_sites),
        )


class Objective(ABC):
    """A loss, in two forms that agree: `pyro` is the definition, `terms` the sync-free sum."""

    @staticmethod
    @abstractmethod
    def pyro(num_particles: int, batch_size: int) -> ELBO:
        """Pyro's estimator, for programs that `per_image` scales."""

    @staticmethod
    @abstractmethod
    def loss(guide_sites: Sites, model_sites: Sites, log_probs: dict[str, Tensor]) -> Tensor:
        """The loss from the sites of one run of guide and model, and the model's log probabilities."""

    @classmethod
    def terms(
        cls, model: Program, guide: Program, x: Tensor, beta: float | Tensor, num_particles: int = 1
    ) -> Terms:
        """Loss (with its gradients), rate and distortion of one minibatch x (B, C, H, W)."""
        guide_sites, model_sites = run(model, guide, x, beta, num_particles)
        log_probs = _log_probs(model_sites)
        loss = cls.loss(guide_sites, model_sites, log_probs)
        with torch.no_grad():
            return Terms(loss, rate(guide_sites, model_sites), distortion(log_probs, model_sites))


def run(
    model: Program, guide: Program, x: Tensor, beta: float | Tensor, num_particles: int = 1
) -> tuple[Sites, Sites]:
    """The sites of the guide, and of the model at the guide's draws; particles lead all shapes."""
    if num_particles > 1:
        plate = pyro.plate("num_particles_vectorized", num_particles, dim=-2)
        model, guide = plate(model), plate(guide)
    with SiteRecorder() as drawn:
        guide_trace = poutine.trace(guide).get_trace(x, beta)
    with SiteRecorder() as scored:
        poutine.replay(model, trace=guide_trace)(x, beta)
    return drawn.sites, scored.sites


class Elbo(Objective):
    """distortion + beta * (log q - log p) at the drawn z: `Trace_ELBO`."""

    @staticmethod
    def pyro(num_particles, batch_size):
        return Trace_ELBO(num_particles, max_plate_nesting=1, vectorize_particles=True)

    @staticmethod
    def loss(guide_sites, model_sites, log_probs):
        entropy = _log_probs(guide_sites)
        parts = [_scaled(p, model_sites[name]) for name, p in log_probs.items()]
        parts += [-_scaled(q, guide_sites[name]) for name, q in entropy.items()]
        return -sum(part.sum() for part in parts) / _particles(log_probs)


class ElboAnalytic(Objective):
    """distortion + beta * rate in closed form: `TraceMeanField_ELBO`."""

    @staticmethod
    def pyro(num_particles, batch_size):
        return TraceMeanField_ELBO(num_particles, max_plate_nesting=1, vectorize_particles=True)

    @staticmethod
    def loss(guide_sites, model_sites, log_probs):
        observed = {n: p for n, p in log_probs.items() if model_sites[n]["is_observed"]}
        parts = [-_scaled(p, model_sites[name]) for name, p in observed.items()]
        for name, site in guide_sites.items():
            parts.append(_scaled(kl_divergence(site["fn"], model_sites[name]["fn"]), site))
        return sum(part.sum() for part in parts) / _particles(log_probs)


class Iwae(Objective):
    """Minus the importance-weighted bound with `num_particles` samples: `RenyiELBO(alpha=0)`.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """

    @staticmethod
    def pyro(num_particles, batch_size):
        # On programs scaled by 1 / B the order 1 - B undoes the scale inside the logarithm and
        # keeps it outside: this is RenyiELBO(alpha=0) of the unscaled programs, over B.
        return RenyiELBO(
            alpha=1 - batch_size,
            num_particles=num_particles,
            max_plate_nesting=1,
            vectorize_particles=True,
        )

    @staticmethod
    def loss(guide_sites, model_sites, log_probs):
        log_weights = sum(log_probs.values()) - sum(_log_probs(guide_sites).values())
        log_weights = log_weights.reshape(_particles(log_probs), -1)
        bound = torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
        return -bound.mean()


def _particles(log_probs: dict[str, Tensor]) -> int:
    shape = next(iter(log_probs.values())).shape
    return shape[0] if len(shape) > 1 else 1


OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": Elbo,
    "elbo_analytic": ElboAnalytic,
    "iwae": Iwae,
}


# --- beta and the learning rate over training ----------------------------------------------------


def constant(step: int, ramp: int) -> float:
    """1 throughout."""
    return 1.0


def linear(step: int, ramp: int) -> float:
    """From 0 to 1 over the first `ramp` steps, then 1."""
    return min(step / ramp, 1.0)


def cyclical(step: int, ramp: int) -> float:
    """Cycles of `2 ramp` steps: from 0 to 1 over the first half, 1 over the second.

    Source: Fu et al., "Cyclical annealing schedule", 2019, https://arxiv.org/abs/1903.10145.
    """
    return min(step % (2 * ramp) / ramp, 1.0)


BETA_SCHEDULES = {"constant": constant, "linear": linear, "cyclical": cyclical}


def cosine(step: int, steps: int) -> float:
    """From 1 to 0 along half a cosine over all `steps` of training."""
    return (1 + math.cos(math.pi * step / steps)) / 2


LEARNING_RATE_SCHEDULES = {"constant": constant, "cosine": cosine}
