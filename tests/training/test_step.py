"""The compiled step equals the eager one, and Pyro's own through it."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.training.adam import ADAM, adam_step
from pyro_vae.training.importance import ESTIMATORS
from pyro_vae.training.objectives import OBJECTIVES
from tests.support import fake_cuda
from tests.support.programs import images, model
from tests.support.training import (
    assert_resumes_within_an_epoch,
    assert_same_gradients,
    assert_same_weights,
    graph_gradients,
    particles,
    trained,
)


@pytest.fixture
def cuda(monkeypatch, no_inductor):
    return fake_cuda.pretend(monkeypatch)


SCORED_TWICE = [n for n, f in LIKELIHOODS.items() if f.scored_on("density") == "density"]
LOSSES = [  # every family under both scores, and with and without particles
    *((name, "iwae", "density") for name in LIKELIHOODS),
    *((name, "elbo", "levels" if name in SCORED_TWICE else "density") for name in LIKELIHOODS),
    ("laplace", "elbo_analytic", "density"),
    *(("gaussian_shared_sigma", name, "density") for name in ESTIMATORS),
]


# With particles and on grey levels; ensembles capture every family without, and on densities. Normals
# whose sigma is not of a pixel score levels as those do where it is.
SIGMAS = {f"gaussian_{of}_sigma" for of in ("fixed", "shared", "image")}
CAPTURED = [
    *(
        (name, "iwae", "levels" if name in SCORED_TWICE else "density")
        for name in LIKELIHOODS
        if name not in SIGMAS
    ),
    *(("gaussian_shared_sigma", name, "density") for name in OBJECTIVES),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, objective, score", CAPTURED)
def test_the_graph_has_the_terms_and_gradients_of_the_eager_step(name, objective, score):
    assert_same_gradients(model(name, score=score), objective, graph_gradients)


def first_gradients(engine, precision):
    """A tenth of them: Adam's averages after one step, by parameter."""
    options = {"engine": engine, "precision": precision, "epochs": 1, "batch_size": 40}
    run = pv.fit(model(), images(), **options)
    next(run)
    return {name: state["exp_avg"] for name, state in run.engine.adam_state().items()}


def largest_difference(gradients, expected):
    """Relative to the largest gradient of each parameter."""
    assert gradients.keys() == expected.keys() != set()
    return max(
        ((gradients[name] - value).abs().max() / value.abs().max()).item()
        for name, value in expected.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_first_gradients_in_lower_precisions(no_inductor, precision):
    """Both engines compute in the same format: equal to the rounding of float32."""
    expected = first_gradients("eager", precision)
    assert largest_difference(first_gradients("compiled", precision), expected) <= 1e-5


@pytest.mark.slow
def test_bf16_rounds_more_than_float32(no_inductor):
    """Else the test above would not see an engine that leaves bf16 out."""
    expected = first_gradients("eager", "float32")
    assert largest_difference(first_gradients("compiled", "bf16"), expected) > 1e-3


def test_adams_averages_hold_no_denormal_numbers():
    """Where a gradient has been zero for long: 0.9 to the 1,000th, and then no change in the weights."""
    tiny = torch.finfo(torch.float32).tiny
    p, m, v = torch.ones(3), torch.tensor([1.0, tiny, -tiny]), torch.tensor([1.0, tiny, 0.0])
    one = torch.ones(())
    for _ in range(1_000):
        p, m, v = adam_step(p, m, v, torch.zeros(3), 1e-3 * one, one, ADAM)
    assert m.tolist() == [0.0, 0.0, 0.0] and v[1:].tolist() == [0.0, 0.0]
    assert p[1] == 1.0 and p[2] == 1.0


# --- CUDA -----------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("engine, tolerance", [("compiled", 1e-9), ("graph", 1e-6)])
@pytest.mark.parametrize("name, objective, score", LOSSES)
def test_cuda_graphs_are_the_eager_step(name, objective, score, engine, tolerance):
    """On the device's own noise, with dynamic pixels, in float64.

    torch's fused Adam takes its learning rate in float32, hence 1e-6 for the plain graph.
    """
    options = particles(objective) | {"device": "cuda", "dynamic": True, "epochs": 10}
    _, weights = trained(model(name, score=score), engine=engine, **options)
    _, expected = trained(model(name, score=score), engine="eager", **options)
    assert_same_weights(weights, expected, tolerance)


@pytest.mark.cuda
@pytest.mark.parametrize("engine", ["graph", "compiled"])
def test_a_cuda_graph_resumes_within_an_epoch(monkeypatch, engine):
    assert_resumes_within_an_epoch(monkeypatch, engine=engine, device="cuda")


@pytest.mark.cuda
def test_a_replay_does_not_wait_for_the_gpu():
    run = pv.fit(model(), images(), engine="compiled", device="cuda", epochs=9, batch_size=16)
    next(run)
    with run.private.swapped_in():
        steps = run.engine.steps(run.draw_epoch())
        torch.cuda.set_sync_debug_mode("error")
        try:
            next(steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")
