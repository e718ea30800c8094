"""Many models in one batched step: each is trained as it would be by itself."""

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.training.ensembles import stack_size
from pyro_vae.training.loop import Stopped
from tests.support import seams
from tests.support.programs import images, model
from tests.support.training import (
    assert_same_records,
    assert_same_weights,
    stop_after,
    through_a_file,
)

BETAS = [0.25, 1.0, 4.0, 1.0]
SEEDS = [0, 1, 2, 3]
RATES = [1e-3, 1e-2, 1e-3, 3e-3]
LISTS = {"betas": BETAS, "seeds": SEEDS, "learning_rates": RATES}
ADAM = {"adam_beta1": 0.5, "adam_beta2": 0.9, "adam_epsilon": 1e-2, "clip_norm": 0.3}
OPTIONS = {"epochs": 10, "batch_size": 16, "precision": "float64"}
FEW = {"count": 2, "epochs": 3}


def models(likelihood="bernoulli", kind=pv.VAE, count=4, **options):
    """Models of one architecture, whose weights differ."""
    return [model(likelihood, kind, seed, **options) for seed in range(count)]


def alone(each, betas=BETAS, **options):
    """The records of models that are trained one by one."""
    options = {"engine": "eager"} | OPTIONS | options
    rows = zip(betas, SEEDS, RATES)
    return [
        list(pv.fit(vae, images(), beta=beta, seed=seed, learning_rate=rate, **options))
        for vae, (beta, seed, rate) in zip(each, rows)
    ]


def together(each, **options):
    """The records of models that are trained in one batched step."""
    lists = {name: values[: len(each)] for name, values in LISTS.items()}
    laps = list(pv.fit_many(each, images(), **(lists | OPTIONS | options)))
    return [[lap[i] for lap in laps if i in lap] for i in range(len(each))]


def assert_same_models(models, others, tolerance=1e-10):
    for vae, other in zip(models, others, strict=True):
        assert_same_weights(vae.state_dict(), other.state_dict(), tolerance)


def assert_as_alone(likelihood="bernoulli", network=(), count=4, betas=BETAS, **options):
    """Weights and every column of the records but the seconds: equal to 1e-10."""
    stacked, single = (models(likelihood, count=count, **dict(network)) for _ in range(2))
    records = together(stacked, betas=betas[:count], **options)
    for found, expected in zip(records, alone(single, betas, **options), strict=True):
        assert_same_records(found, expected, 1e-10)
    assert_same_models(stacked, single)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_family_as_alone(no_inductor, name):
    """Two betas, seeds and learning rates, two epochs of dynamic pixels, in float64."""
    options = {"test_images": images(7), "beta_schedule": "linear", "warmup_epochs": 2, "epochs": 2}
    assert_as_alone(name, dynamic=True, count=2, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"network": {"network": "conv", "hidden": (4,)}, **FEW},
        {"network": {"network": "resnet", "hidden": (4,), "activation": "gated"}, **FEW},
        {"network": {"network": "linear", "hidden": None}, "objective": "elbo_analytic", **FEW},
        {"network": {"decoder_features": 3, "activation": "gated"}, "likelihood": "beta_binomial"},
        {"objective": "dreg", "num_particles": 3, "betas": [1.0] * 4, **FEW},
        {"network": {"kind": pv.Autoencoder}, "learning_rate_schedule": "cosine", **FEW},
        {"patience": 2, "validation_images": images(9), **ADAM},
        {"objective": "elbo_analytic", "free_bits": 0.1, **FEW},
    ],
    ids=[
        "conv",
        "resnet",
        "linear",
        "features",
        "dreg",
        "autoencoder",
        "patience, Adam",
        "free bits",
    ],
)
def test_every_kind_of_training_as_alone(no_inductor, options):
    assert_as_alone(**options)


@pytest.mark.long
def test_machine_code_as_alone():
    assert_as_alone()


@pytest.mark.slow
def test_a_stack_may_have_idle_places(no_inductor, monkeypatch):
    seams.stack_at_most(2, monkeypatch.setattr)
    stacked, single = models(count=3), models(count=3)
    lists = {name: values[:3] for name, values in LISTS.items()}
    run = pv.fit_many(stacked, images(), **lists, **OPTIONS)
    assert [sorted(lap) for lap in run] == [[0, 1, 2]] * 10
    assert [stack.idle for stack in run.stacks] == [0, 1]
    alone(single)
    assert_same_models(stacked, single)


@pytest.mark.parametrize("options, size", [({}, 4), ({"network": "conv", "hidden": (4,)}, 1)])
def test_convolutions_are_not_stacked_on_a_cpu(options, size):
    assert stack_size(4, model(**options), "cpu") == size


@pytest.mark.slow
def test_fixed_sigmas_and_images_may_differ(no_inductor):
    sigmas, data = (0.1, 0.25, 0.5, 1.0), [images(), 1 - images(), images(), images()]
    stacked, single = (
        [model("gaussian_fixed_sigma", seed=n, sigma=sigma) for n, sigma in enumerate(sigmas)]
        for _ in range(2)
    )
    list(pv.fit_many(stacked, data, seeds=SEEDS, **OPTIONS))
    for vae, x, seed in zip(single, data, SEEDS):
        list(pv.fit(vae, x, engine="eager", seed=seed, **OPTIONS))
    assert [vae.likelihood.sigma.item() for vae in stacked] == pytest.approx(sigmas)
    assert_same_models(stacked, single)


@pytest.mark.slow
def test_one_that_diverges_stops_alone(no_inductor):
    stacked, single = models("laplace"), models("laplace")
    with torch.no_grad():
        next(stacked[2].decoder.parameters()).fill_(math.nan)
    laps = list(pv.fit_many(stacked, images(), **LISTS, **OPTIONS))
    assert len(laps) == 10 and isinstance(laps[0][2], FloatingPointError)
    assert "is not finite at epoch 1, step 1" in str(laps[0][2])
    assert all(sorted(lap) == [0, 1, 3] for lap in laps[1:])
    expected = alone(single)
    for i in (0, 1, 3):
        assert_same_records([lap[i] for lap in laps], expected[i], 1e-10)
        assert_same_weights(stacked[i].state_dict(), single[i].state_dict(), 1e-10)


# --- stopped and resumed ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stop_between_two_stacks_loses_no_record(no_inductor, monkeypatch):
    seams.stack_at_most(2, monkeypatch.setattr)
    whole, again = models(), models()
    list(pv.fit_many(whole, images(), seeds=SEEDS, **OPTIONS))
    first = pv.fit_many(again, images(), seeds=SEEDS, should_stop=stop_after(3), **OPTIONS)
    assert sorted(next(first)) == [0, 1]
    with pytest.raises(Stopped):
        next(first)
    assert [member.step for member in first.members] == [2, 2, 1, 1]
    for member in first.members:
        member.should_stop = stop_after(10**6)
    list(first)
    assert_same_models(again, whole, 0)


@pytest.mark.slow
def test_members_are_restored_and_catch_up(no_inductor):
    """Saved after different steps, one of them within an epoch: all end as if never stopped."""
    whole, again = models(), models()
    together(whole, dynamic=True)
    first = pv.fit_many(models(), images(), dynamic=True, **LISTS, **OPTIONS)
    states = [through_a_file(first.members[0].state())]
    for i in (1, 2):
        next(first)
        states.append(through_a_file(first.members[i].state()))
    stop = stop_after(1)
    for member in first.members:
        member.should_stop = stop
    with pytest.raises(Stopped):
        next(first)
    states.append(through_a_file(first.members[3].state()))
    assert [state["step"] for state in states] == [0, 2, 4, 5]
    second = pv.fit_many(again, images(), dynamic=True, **LISTS, **OPTIONS)
    for member, state in zip(second.members, states, strict=True):
        member.restore(state)
    laps = [set(lap) for lap in second]  # those behind first, while the others wait
    assert laps[:5] == [{0}, {0, 1}, {0, 1, 2}, {3}, {0, 1, 2, 3}]
    assert_same_models(again, whole, 0)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"betas": [1.0]}, "betas: expected 4, one per model, got 1"),
        ({"seeds": [0] * 5}, "seeds: expected 4, one per model, got 5"),
        ({"learning_rates": [1e-3, -1.0, 1e-3, 1e-3]}, "learning_rate: expected a number > 0"),
        ({"beta": -1.0}, "beta: expected a number >= 0"),
    ],
)
def test_wrong_lists_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        pv.fit_many(models(), images(), **change)


def test_a_list_of_images_is_of_the_models_length():
    with pytest.raises(ValueError, match="images: expected 4, one per model, got 3"):
        pv.fit_many(models(), [images()] * 3)


@pytest.mark.parametrize(
    "odd",
    [
        {"hidden": (7,)},
        {"activation": "tanh"},
        {"levels": 3},
        {"score": "levels"},
        {"likelihood": "laplace"},
        {"kind": pv.Autoencoder},
    ],
    ids=str,
)
def test_models_of_other_architectures_are_refused(odd):
    with pytest.raises(ValueError, match="models: 2 is not of the architecture of 0"):
        pv.fit_many([*models(count=2), *models(count=1, **odd)], images())


def test_no_models_are_refused():
    with pytest.raises(ValueError, match="models: expected one at least"):
        pv.fit_many([], images())


@pytest.mark.cuda
def test_cuda_graphs_of_an_ensemble_are_graphs_of_single_models():
    assert_as_alone(device="cuda", dynamic=True)
