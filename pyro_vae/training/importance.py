"""Importance-weighted bounds and estimators of their gradients, for any Pyro model and guide.

With K draws z_k ~ q(z) and log weights log w_k = log p(x, z_k) - log q(z_k), each estimator here is

    sum_k u_k d log p(x, z_k) + v_k (d log w_k / d z_k) dz_k - s v_k d log q(z_k)

The first term is that of the model's parameters, the second goes through the draws, and the third is
the score of q, with s = 0 where it is left out. The weights u and v follow from all log weights:

    name    bound                      u                v                     s
    stl     mean of log w              1 / K            1 / K                 0
    iwae    log mean w                 w / sum w        w / sum w             1
    dreg    log mean w                 w / sum w        (w / sum w)^2         0
    miwae   mean of groups' iwae       that of groups   that of groups        1
    piwae   log mean w                 w / sum w        that of groups        1
    ciwae   mean of stl's and iwae's   mean of both     mean of both          1

This file needs Pyro and torch only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pyro import poutine
from pyro.distributions.util import is_identically_zero
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.infer.util import get_dependent_plate_dims, torch_sum
from pyro.poutine import Trace
from torch import Tensor


class Weights(NamedTuple):
    """A bound (...) of K draws in nats, and the weights u and v (K, ...) of their gradients."""

    bound: Tensor
    of_model: Tensor
    of_guide: Tensor


class LogProbs(NamedTuple):
    """The log probabilities of K draws under the model and under the guide, (K, ...) each, nats."""

    model: Tensor
    guide: Tensor


def elbo(log_weights: Tensor) -> Weights:
    """Return the mean of the log weights, in which all draws have the same weight."""
    equal = torch.full_like(log_weights, 1 / len(log_weights))
    return Weights(log_weights.mean(0), equal, equal)


def iwae(log_weights: Tensor) -> Weights:
    """Return the logarithm of the mean weight.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    bound = log_weights.logsumexp(0) - math.log(len(log_weights))
    share = log_weights.softmax(0)
    return Weights(bound, share, share)


def dreg(log_weights: Tensor) -> Weights:
    """Return the bound of `iwae` with the weights of doubly reparameterised gradients.

    Source: Tucker, Lawson, Gu and Maddison, "Doubly reparameterized gradient estimators for Monte
    Carlo objectives", 2018, https://arxiv.org/abs/1810.04152.
    """
    bound, share, _ = iwae(log_weights)
    return Weights(bound, share, share.square())


def miwae(log_weights: Tensor) -> Weights:
    """Return the mean of the bounds of `iwae` over equal groups of draws; see `num_groups`.

    Source: Rainforth et al., "Tighter variational bounds are not necessarily better", 2018,
    https://arxiv.org/abs/1802.04537; for `piwae` and `ciwae` too.
    """
    groups = num_groups(len(log_weights))
    grouped = log_weights.unflatten(0, (groups, -1))
    bounds = grouped.logsumexp(1) - math.log(grouped.shape[1])
    share = grouped.softmax(1).flatten(0, 1) / groups
    return Weights(bounds.mean(0), share, share)


def piwae(log_weights: Tensor) -> Weights:
    """Return the bound of `iwae`, whose weights the model has, while the guide has those of `miwae`."""
    return iwae(log_weights)._replace(of_guide=miwae(log_weights).of_guide)


def ciwae(log_weights: Tensor) -> Weights:
    """Return the mean of the ELBO and the bound of `iwae`."""
    pairs = zip(elbo(log_weights), iwae(log_weights))
    bound, of_model, _ = ((one + other) / 2 for one, other in pairs)
    return Weights(bound, of_model, of_model)


def num_groups(num_particles: int) -> int:
    """Return the number of groups: the largest divisor of `num_particles` up to its square root.

    Raises:
        ValueError: it is 1 or a prime number.
    """
    for groups in range(math.isqrt(num_particles), 1, -1):
        if num_particles % groups == 0:
            return groups
    raise ValueError(
        f"num_particles: expected a product, as 4 or 64, to be split into groups, got {num_particles}"
    )


@dataclass(frozen=True)
class Estimator:
    """An estimator of a bound's gradients.

    Args:
        weights: returns the bound and its weights, given log weights (K, ...).
        score: whether the score of q is part of the gradient.
        linear: whether the bound is a mean of log weights, whose sites may be scaled one by one.
    """

    weights: Callable[[Tensor], Weights]
    score: bool = True
    linear: bool = False

    def bound(self, drawn: LogProbs, held: LogProbs) -> Tensor:
        """Return the bound (...), nats, which has the estimator's gradients.

        It needs no distribution with detached parameters: what goes through the draws is what
        remains of a log probability after the same one at held draws is taken away.

        Args:
            drawn: log probabilities (K, ...) of reparameterised draws.
            held: those of the same draws without their gradients.
        """
        bound, of_model, of_guide = self.weights((drawn.model - drawn.guide).detach())
        path = drawn.model - held.model - drawn.guide
        if not self.score:
            path = path + held.guide
        total = (of_model * held.model + of_guide * path).sum(0)
        return bound + total - total.detach()


ESTIMATORS = {
    "stl": Estimator(elbo, score=False, linear=True),
    "iwae": Estimator(iwae),
    "dreg": Estimator(dreg, score=False),
    "miwae": Estimator(miwae),
    "piwae": Estimator(piwae),
    "ciwae": Estimator(ciwae),
}
"""Estimators by name. That of `stl` is "sticking the landing" of the ELBO: Roeder, Wu and Duvenaud,
2017, https://arxiv.org/abs/1703.09194."""


class ImportanceELBO(ELBO):
    """The negative bound of an estimator, for each element of the plates that all sites share.

    The bound is summed over these elements, whose scale stays outside of the logarithm. Guide and
    model run twice, and must do the same again for the same draws.

    Args:
        estimator: a value of `ESTIMATORS`, or one of your own.
        options: those of `pyro.infer.ELBO`.

    Raises:
        ValueError: a number of particles that the bound cannot have.
        NotImplementedError: in a step, a draw of the guide that is not reparameterised.
        ValueError: in a step, sites of different scales in a bound that is not linear.

    Example:
        >>> svi = pyro.infer.SVI(model, guide, optimizer, ImportanceELBO(  # doctest: +SKIP
        ...     ESTIMATORS["dreg"], num_particles=64, vectorize_particles=True))
    """

    def __init__(self, estimator: Estimator, **options):
        super().__init__(**options)
        estimator.weights(torch.zeros(self.num_particles, 1))
        self.estimator = estimator

    def _get_trace(self, model, guide, args, kwargs):
        recorder = poutine.trace(guide)
        run = get_importance_trace("flat", self.max_plate_nesting, model, recorder, args, kwargs)
        again = poutine.replay(guide, trace=_held(recorder.trace))
        return *run, *get_importance_trace(
            "flat", self.max_plate_nesting, model, again, args, kwargs
        )

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        """Return the negative bound, which has the estimator's gradients."""
        runs = list(self._get_traces(model, guide, args, kwargs))
        scales = {
            float(site["scale"])
            for trace in runs[0]
            for site in trace.nodes.values()
            if site["type"] == "sample"
        }
        if len(scales) > 1 and not self.estimator.linear:
            raise ValueError(f"scale: expected the same for all sites, got {sorted(scales)}")
        scale = 1.0 if self.estimator.linear else scales.pop()
        parts = [
            torch.stack([part / scale for part in each]) for each in zip(*map(_log_probs, runs))
        ]
        if self.vectorize_particles and self.num_particles > 1:
            parts = [part.squeeze(0) for part in parts]
        drawn, held = LogProbs(*parts[:2]), LogProbs(*parts[2:])
        return -scale * self.estimator.bound(drawn, held).sum()

    @torch.no_grad()
    def loss(self, model, guide, *args, **kwargs) -> float:
        """Return the negative bound."""
        return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model, guide, *args, **kwargs) -> float:
        """Return the negative bound, and add the estimator's gradients to those of the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return loss.item()


def _held(trace: Trace) -> Trace:
    """Return a copy of a trace whose draws have no gradients."""
    copy = trace.copy()
    for name, site in trace.nodes.items():
        if site["type"] == "sample":
            copy.nodes[name] = {**site, "value": site["value"].detach()}
    return copy


def _log_probs(traces: tuple[Trace, ...]) -> list[Tensor]:
    """Return the log probability of each trace, summed over plates that not all sites share."""
    dims = get_dependent_plate_dims(traces[0].nodes.values())
    sums = []
    for trace in traces:
        sites = [site for site in trace.nodes.values() if site["type"] == "sample"]
        if any(
            not is_identically_zero(s["score_parts"].score_function)
            for s in sites
            if "score_parts" in s
        ):
            raise NotImplementedError("draws of the guide that are not reparameterised")
        sums.append(sum(torch_sum(site["log_prob"], dims) for site in sites))
    return sums
