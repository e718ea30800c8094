"""Small trainings, what can be done to their states, and how weights are compared."""

import io

import pytest
import torch
from torch.export.graph_signature import InputKind

import pyro_vae as pv
from pyro_vae.names import ELBOS
from pyro_vae.training.capture import capture
from pyro_vae.training.engines import Compiled
from pyro_vae.training.loop import Stopped
from pyro_vae.training.objectives import OBJECTIVES, Loss
from pyro_vae.training.programs import per_image
from pyro_vae.training.replay import ReplayedSteps
from pyro_vae.training.step import loss_gradients
from tests.support import fake_cuda
from tests.support.programs import images, model


def trained(vae, x=None, **options):
    """The records and the final weights of a training in float64, by default of three epochs."""
    settings = {"epochs": 3, "batch_size": 16, "precision": "float64"}
    x = images() if x is None else x
    return list(pv.fit(vae, x, **(settings | options))), vae.state_dict()


def particles(objective):
    """The settings of an objective: importance-weighted bounds take four particles."""
    return {"objective": objective, "num_particles": 1 if objective in ELBOS else 4}


def eager_gradients(loss, x, beta):
    """The terms of a loss, and the gradients by parameter, as the engine `eager` has them."""
    torch.manual_seed(1)
    terms = loss.terms(x, beta)
    parameters = dict(loss.model.named_parameters())
    found = torch.autograd.grad(terms.loss, list(parameters.values()), materialize_grads=True)
    return torch.stack(terms), dict(zip(parameters, found))


def graph_gradients(loss, x, beta):
    """The same by the captured graph; what would wait for a GPU is an error."""
    graph = capture(loss, x)
    learned = Compiled(loss).learned(graph).of_one()
    torch.manual_seed(1)
    noise = [getattr(x.new_empty(draw.shape), draw.fill)() for draw in graph.noise]
    rows, scalars = torch.arange(len(x)), x.new_tensor([beta])
    with fake_cuda.recording():
        found, terms = loss_gradients(graph, False, None)(learned, x, rows, scalars, noise)
    return terms, dict(zip(graph.names(InputKind.PARAMETER), found))


def pyro_gradients(loss, x, beta):
    """The loss alone, and the gradients by parameter, by Pyro's estimator."""
    torch.manual_seed(1)
    programs = per_image(loss.model.model), per_image(loss.model.guide)
    value = loss.estimator(len(x)).loss_and_grads(*programs, x, beta)
    parameters = loss.model.named_parameters()
    return torch.tensor([value]), {n: p.grad for n, p in parameters if p.grad is not None}


def assert_same_gradients(vae, objective, *forms):
    """Losses and gradients on the same noise, in float64: to 1e-10 those of the eager step."""
    vae, x = vae.double(), images(9).double()
    loss = Loss(vae, OBJECTIVES[objective], particles(objective)["num_particles"])
    beta = 0.7 if loss.objective.any_beta else 1.0
    terms, expected = eager_gradients(loss, x, beta)
    for form in forms:
        found, gradients = form(loss, x, beta)
        assert torch.allclose(found, terms[: len(found)].to(found), rtol=1e-10, equal_nan=True)
        for name, gradient in expected.items():
            apart = gradients.get(name, torch.zeros_like(gradient)).view_as(gradient) - gradient
            assert apart.abs().max() <= 1e-10 * max(1, gradient.abs().max()), name


def full_training(engine="eager", **options):
    """A small training with all that a state has to hold: noise, schedules, dynamic pixels, selection."""
    settings = {
        "test_images": images(7), "validation_images": images(9), "patience": 3, "dynamic": True,
        "beta": 2.0, "beta_schedule": "linear", "warmup_epochs": 2, "epochs": 5, "batch_size": 8,
        "learning_rate_schedule": "cosine", "engine": engine, "clip_norm": 1.0, "adam_beta1": 0.8,
    }  # fmt: skip
    return pv.fit(model(), images() * 0.7, **(settings | options))


def through_a_file(state):
    """The state as it is saved and loaded."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def stop_after(steps):
    """A wish to stop that comes after so many steps."""
    asked = iter([False] * steps)
    return lambda: next(asked, True)


def assert_resumes_within_an_epoch(monkeypatch, **options):
    """A recorded training that stops after a block of seven steps ends as one that does not."""
    monkeypatch.setattr(ReplayedSteps, "block", 7)
    options = {"epochs": 3, "batch_size": 2, "precision": "float64"} | options
    whole, first, second = (pv.fit(model(), images(), **options) for _ in range(3))
    list(whole)
    first.should_stop = stop_after(1)
    with pytest.raises(Stopped):
        list(first)
    second.restore(first.state())
    list(second)
    assert_same_weights(second.model.state_dict(), whole.model.state_dict())


def assert_same_weights(one, other, tolerance=0.0):
    """Two state dicts with the same names, whose tensors differ by no more than the tolerance."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert (tensor.double() - other[name].double()).abs().max() <= tolerance, name


def assert_same_records(records, expected, tolerance=0.0):
    """Equal in every column but the seconds, relative where a figure is large and absolute below 1."""
    for a, b in zip(records, expected, strict=True):
        for name, value in vars(b).items():
            if value is None:
                assert getattr(a, name) is None, name
            elif name != "seconds":
                close = pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True)
                assert getattr(a, name) == close, name
