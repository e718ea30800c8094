"""The two programs of a model: their sites, and whether a sum over sites has the right gradients.

A model and a guide take `(x, beta)`.
"""

from collections.abc import Callable, Iterable

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

Program = Callable[..., object]
Sites = dict[str, dict]


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
    model: Program,
    guide: Program,
    x: Tensor,
    beta: float | Tensor,
    num_particles: int = 1,
    given: Sites | None = None,
) -> tuple[Sites, Sites]:
    """Return the sites of the guide, and of the model at the guide's draws.

    With several particles, the first dimension of all shapes is the particle.

    Args:
        given: sites whose values the guide draws.
    """
    if num_particles > 1:
        plate = pyro.plate("num_particles_vectorized", num_particles, dim=-2)
        model, guide = plate(model), plate(guide)
    with Recorder(given) as drawn:
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


def held(sites: Sites) -> Sites:
    """Return the sites with values that have no gradients."""
    return {name: {**site, "value": site["value"].detach()} for name, site in sites.items()}


def log_probs(sites: Sites) -> dict[str, Tensor]:
    """Return the log probability of every site's value, per image, neither scaled nor masked."""
    return {name: site["fn"].log_prob(site["value"]) for name, site in sites.items()}


@torch.no_grad()
def check_per_image(model: Program, guide: Program, x: Tensor) -> None:
    """Raise a ValueError unless all sites are of single images, as importance weights need them."""
    for sites in trace_programs(model, guide, x, 1.0):
        for name, value in log_probs(sites).items():
            if value.shape != x.shape[:1]:
                raise ValueError(
                    f"{name}: is shared by images, and an importance-weighted bound is of each image;"
                    " use the objective elbo"
                )


@torch.no_grad()
def check_repeats(model: Program, guide: Program, x: Tensor) -> None:
    """Raise a ValueError unless programs, run again on the same draws, have the same distributions.

    Those with dropout have not.
    """
    first = trace_programs(model, guide, x, 1.0)
    again = trace_programs(model, guide, x, 1.0, given=first[0])
    for sites, others in zip(first, again):
        repeated = log_probs(others)
        for name, value in log_probs(sites).items():
            if not torch.allclose(value, repeated[name], rtol=1e-5, atol=1e-2):  # inverses of flows
                raise ValueError(
                    f"{name}: its program gives another distribution when it runs again (dropout?);"
                    " use the objective iwae or elbo"
                )
