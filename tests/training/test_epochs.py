"""Schedules of beta and of the learning rate, and the record of an epoch."""

import math

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.settings import TrainingSettings
from pyro_vae.training.epochs import (
    BETA_SCHEDULES,
    LEARNING_RATE_SCHEDULES,
    SMALL,
    Schedule,
    all_finite,
)
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
    assert LEARNING_RATE_SCHEDULES["constant"](np.array([0, 3]), 2, 2).tolist() == [1, 1]
    cosine = LEARNING_RATE_SCHEDULES["cosine"](np.array([0, 1, 2, 4]), 2, 2)
    assert cosine == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, 0])
    epochs = [0, 1, 3, 4, 12, 13, 1093, 3279, 9999]  # those of Burda et al. end with 3,279
    staged = LEARNING_RATE_SCHEDULES["staged"](2 * np.array(epochs) + 1, 2, 4)
    assert (-7 * np.log10(staged)).round(9).tolist() == [0, 1, 1, 2, 2, 3, 7, 7, 7]


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


# --- the record ------------------------------------------------------------------------------------

FIGURES = {"loss": 41.234, "train_elbo": -40.5, "train_rate": 9.0, "train_distortion": 31.5}


def test_a_record_is_shown_in_a_line():
    record = pv.Record(3, 33, 1.25, 1.0, **FIGURES)
    assert repr(record) == "Record(epoch 3, step 33, loss 41.23, train_elbo -40.50)"
    tested = pv.Record(3, 33, 1.25, 1.0, **FIGURES, test_elbo=-41.0, validation_loss=42.0)
    assert repr(tested) == (
        "Record(epoch 3, step 33, loss 41.23, train_elbo -40.50, test_elbo -41.00,"
        " validation_loss 42.00)"
    )


def numbers():
    """Small and large tensors of several types, with the largest numbers of theirs."""
    most = torch.finfo(torch.float32).max
    large = torch.full((SMALL,), most)
    return [
        torch.ones(3, 4),
        large,
        torch.tensor(7),
        torch.full((5,), -most),
        torch.zeros(2).double(),
    ]


def test_large_numbers_are_finite():
    assert all_finite(numbers()) and all_finite([])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 3, 4])
def test_one_number_that_is_not_is_seen(place, wrong):
    tensors = numbers()
    tensors[place].view(-1)[-1] = wrong
    assert not all_finite(tensors)
    if math.isinf(wrong):
        tensors[3][0] = -wrong  # the other infinity does not hide it
        assert not all_finite(tensors)
