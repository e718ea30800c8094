"""Small trainings, what can be done to their states, and how weights are compared."""

import io

import pytest
import torch

import pyro_vae as pv
from pyro_vae.names import ELBOS
from pyro_vae.training.loop import Stopped
from pyro_vae.training.replay import ReplayedSteps
from tests.support.programs import images, model


def trained(vae, x=None, **options):
    """The records and the final weights of a training in float64, by default of three epochs."""
    settings = {"epochs": 3, "batch_size": 16, "precision": "float64"}
    x = images() if x is None else x
    return list(pv.fit(vae, x, **(settings | options))), vae.state_dict()


def particles(objective):
    """The settings of an objective: importance-weighted bounds take four particles."""
    return {"objective": objective, "num_particles": 1 if objective in ELBOS else 4}


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
