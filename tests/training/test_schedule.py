"""Schedules of beta and of the learning rate."""

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.settings import TrainingSettings
from pyro_vae.training.epochs import BETA_SCHEDULES, LEARNING_RATE_SCHEDULES, Schedule
from tests.support.programs import images, model
from tests.support.training import trained


@pytest.mark.parametrize(
    "name, ramp, factors",
    [
        ("constant", 0, [1, 1, 1]),
        ("linear", 4, [0, 0.25, 0.5, 0.75, 1, 1, 1]),
        ("cyclical", 2, [0, 0.5, 1, 1, 0, 0.5, 1, 1, 0]),
    ],
)
def test_factors_of_beta(name, ramp, factors):
    assert BETA_SCHEDULES[name](np.arange(len(factors)), ramp).tolist() == factors


def test_factors_of_the_learning_rate():
    assert LEARNING_RATE_SCHEDULES["constant"](np.array([0, 3]), 4).tolist() == [1, 1]
    cosine = LEARNING_RATE_SCHEDULES["cosine"](np.array([0, 1, 2, 4]), 4)
    assert cosine == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, 0])


def test_a_schedule_goes_by_the_steps_of_an_epoch():
    settings = TrainingSettings(
        beta=2, beta_schedule="linear", warmup_epochs=2, epochs=4, learning_rate_schedule="cosine"
    )
    schedule = Schedule(settings, steps_per_epoch=5)
    assert schedule.steps == 20
    assert [schedule.epoch(step) for step in (0, 4, 5, 20)] == [0, 0, 1, 4]
    assert schedule.betas(range(20))[[0, 5, 10, 19]] == pytest.approx([0, 1, 2, 2])
    assert schedule.learning_rates(range(20))[[0, 10]] == pytest.approx([1e-3, 5e-4])


def test_beta_follows_its_schedule():
    options = {"beta": 2.0, "warmup_epochs": 2, "epochs": 5}
    linear, _ = trained(model(), beta_schedule="linear", **options)
    assert [r.beta for r in linear] == [0.5, 1.5, 2.0, 2.0, 2.0]  # at each epoch's last step
    cyclical, _ = trained(model(), beta_schedule="cyclical", **options)
    assert [r.beta for r in cyclical] == [0.5, 1.5, 2.0, 2.0, 0.5]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_the_learning_rate_follows_its_schedule(engine):
    """A cosine ends near 0: the last of 40 epochs moves the weights far less than the first."""
    vae = model()
    options = {"epochs": 40, "learning_rate_schedule": "cosine", "batch_size": 16}
    path = []
    for _ in pv.fit(vae, images(), engine=engine, **options):
        path.append(torch.cat([p.detach().flatten().clone() for p in vae.parameters()]))
    moves = [(after - before).norm().item() for before, after in zip(path, path[1:])]
    assert moves[-1] < 0.01 * moves[0]
