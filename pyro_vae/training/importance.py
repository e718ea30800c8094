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

import torch
from pyro import poutine
from pyro.distributions.util import is_identically_zero
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.infer.util import get_dependent_plate_dims, torch_sum
from pyro.poutine import Trace
from torch import Tensor


def elbo(log_weights: Tensor) -> Tensor:
    """Return the mean of the log weights (K, ...), nats."""
    return log_weights.mean(0)


def iwae(log_weights: Tensor) -> Tensor:
    """Return the logarithm of the mean weight, nats, given log weights (K, ...).

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def miwae(log_weights: Tensor) -> Tensor:
    """Return the mean of the bounds of `iwae` over equal groups of draws; see `in_groups`.

    Source: Rainforth et al., "Tighter variational bounds are not necessarily better", 2018,
    https://arxiv.org/abs/1802.04537; for `ciwae` and `piwae_weights` too.
    """
    return iwae(in_groups(log_weights)).mean(0)


def ciwae(log_weights: Tensor) -> Tensor:
    """Return the mean of the ELBO and the bound of `iwae`."""
    return (elbo(log_weights) + iwae(log_weights)) / 2


def dreg_weights(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights u and v (K, ...) of doubly reparameterised gradients of `iwae`.

    Source: Tucker, Lawson, Gu and Maddison, "Doubly reparameterized gradient estimators for Monte
    Carlo objectives", 2018, https://arxiv.org/abs/1810.04152.
    """
    share = log_weights.softmax(0)
    return share, share.square()


def piwae_weights(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights u of `iwae` for the model and v of `miwae` for the guide, (K, ...)."""
    grouped = in_groups(log_weights)
    of_groups = grouped.softmax(0) / grouped.shape[1]
    return log_weights.softmax(0), of_groups.flatten(0, 1)


def in_groups(log_weights: Tensor) -> Tensor:
    """Return log weights (K, ...) in G groups, as (K / G, G, ...); a ValueError if G is 1.

    G is the largest divisor of K up to the root of K.
    """
    count = len(log_weights)
    for groups in range(math.isqrt(count), 1, -1):
        if count % groups == 0:
            return log_weights.unflatten(0, (-1, groups))
    raise ValueError(
        f"num_particles: expected a product, as 4 or 64, to be split into groups, got {count}"
    )


@dataclass(frozen=True)
class Estimator:
    """An estimator of a bound's gradients.

    It needs no distribution with detached parameters: what is to be left out is the gradient of a
    log probability at *held* draws, which have no gradients themselves.

    Args:
        of: returns the bound (...), given log weights (K, ...).
        weights: returns the weights u and v (K, ...) (default: those of the bound's own gradient).
        score: whether the score of q is part of the gradient.
        linear: whether the bound is a mean of log weights, whose sites may be scaled one by one.
    """

    of: Callable[[Tensor], Tensor]
    weights: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    score: bool = True
    linear: bool = False

    @property
    def holds(self) -> bool:
        """Return whether log probabilities at held draws are needed."""
        return self.weights is not None or not self.score

    def bound(self, log_p: Tensor, log_q: Tensor, held: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return the bound (...), nats, which has the estimator's gradients.

        Args:
            log_p, log_q: log probabilities (K, ...) of draws under the model and under the guide.
            held: both of them at held draws, if the estimator `holds`.
        """
        if held and not self.score:
            log_q = log_q - held[1] + held[1].detach()
        log_weights = log_p - log_q
        if held is None or self.weights is None:
            return self.of(log_weights)
        of_model, of_guide = self.weights(log_weights.detach())
        total = (of_model * held[0] + of_guide * (log_weights - held[0])).sum(0)
        return self.of(log_weights.detach()) + total - total.detach()


ESTIMATORS = {
    "stl": Estimator(elbo, score=False, linear=True),
    "iwae": Estimator(iwae),
    "dreg": Estimator(iwae, dreg_weights, score=False),
    "miwae": Estimator(miwae),
    "piwae": Estimator(iwae, piwae_weights),
    "ciwae": Estimator(ciwae),
}
"""Estimators by name. That of `stl` is "sticking the landing" of the ELBO: Roeder, Wu and Duvenaud,
2017, https://arxiv.org/abs/1703.09194."""


class ImportanceELBO(ELBO):
    """The negative bound of an estimator, for each element of the plates that all sites share.

    The bound is summed over these elements, whose scale stays outside of the logarithm. Where the
    estimator holds draws, guide and model run twice, and must do the same again for the same draws.

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
        (estimator.weights or estimator.of)(torch.zeros(self.num_particles, 1))
        self.estimator = estimator

    def _get_trace(self, model, guide, args, kwargs):
        recorder = poutine.trace(guide)
        run = get_importance_trace("flat", self.max_plate_nesting, model, recorder, args, kwargs)
        if not self.estimator.holds:
            return run
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
        held = tuple(parts[2:]) or None
        return -scale * self.estimator.bound(*parts[:2], held).sum()

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
