"""A run that is loaded is the run that was trained."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.runs.run import build_model, resolve_device
from tests.support.runs import quick
from tests.support.training import assert_same_weights


class Keeping(pv.Observer):
    """Keeps the model that is trained."""

    def started(self, folder, config, data, training):
        self.model = training.model


def test_a_loaded_run_is_the_trained_model(elsewhere):
    config, observer = quick(likelihood="gaussian_optimal_sigma", precision="float64"), Keeping()
    run = pv.train(config, "a", observer=observer)
    again = pv.load_run("a")
    assert not again.vae.training and again.config == run.config
    assert {value.dtype for value in again.vae.state_dict().values()} == {torch.float64}
    assert_same_weights(again.vae.state_dict(), observer.model.state_dict())
    assert again.vae.sample(3).shape == (3, 1, 8, 8)


def test_the_seed_draws_the_first_weights_and_leaves_the_callers_draws_alone():
    state = torch.get_rng_state()
    first, same, other = (build_model(quick(seed=s), (1, 4, 4), 2) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_weights(first.state_dict(), same.state_dict())
    weights = zip(first.encoder.parameters(), other.encoder.parameters())
    assert not any(torch.equal(a, b) for a, b in weights)


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert resolve_device("auto", 2) == torch.device("cuda", 2)
    with pytest.raises(ValueError, match="device: expected a GPU for each rank of a node, got 3"):
        resolve_device("cuda", 3)
