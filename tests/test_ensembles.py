"""Many models at once: each is trained as it would be by itself."""

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.engines import Compiled
from pyro_vae.likelihoods.families import LIKELIHOODS
from tests.programs import images, model

BETAS = [0.25, 1.0, 4.0, 1.0]
SEEDS = [0, 1, 2, 3]
RATES = [1e-3, 1e-2, 1e-3, 3e-3]
OPTIONS = {"epochs": 10, "batch_size": 16, "precision": "float64"}


@pytest.fixture
def interpreted(monkeypatch):
    """Without inductor: it is the stacking that is tested."""
    monkeypatch.setattr(Compiled, "compile", staticmethod(lambda step, device: step))


def models(likelihood="bernoulli", kind=pv.VAE, count=4, **options):
    return [model(likelihood, kind, seed, **options) for seed in range(count)]


def alone(likelihood="bernoulli", engine="eager", kind=pv.VAE, betas=BETAS, **options):
    """The records and weights of the same models trained one by one."""
    network = {k: options.pop(k) for k in ("network", "hidden") if k in options}
    runs, options = [], OPTIONS | options
    for vae, *row in zip(models(likelihood, kind, **network), betas, SEEDS, RATES):
        row = dict(zip(("beta", "seed", "learning_rate"), row))
        runs.append((list(pv.fit(vae, images(), engine=engine, **row, **options)), vae))
    return runs


def together(likelihood="bernoulli", kind=pv.VAE, betas=BETAS, **options):
    network = {k: options.pop(k) for k in ("network", "hidden") if k in options}
    each, options = models(likelihood, kind, **network), OPTIONS | options
    lists = {"betas": betas, "seeds": SEEDS, "learning_rates": RATES}
    laps = list(pv.fit_many(each, images(), **lists, **options))
    return [([lap[i] for lap in laps if i in lap], vae) for i, vae in enumerate(each)]


def assert_alike(runs, others, tolerance=1e-10):
    """Weights and every column of the records but the seconds."""
    for (records, vae), (expected, other) in zip(runs, others, strict=True):
        pairs = zip(vae.state_dict().values(), other.state_dict().values(), strict=True)
        assert all((a - b).abs().max() <= tolerance for a, b in pairs)
        for a, b in zip(records, expected, strict=True):
            for name, value in vars(b).items():
                if name != "seconds" and value is not None:
                    assert getattr(a, name) == pytest.approx(
                        value, rel=1e-9, abs=1e-10, nan_ok=True
                    )


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_family_as_alone(interpreted, name):
    """Four betas, seeds and learning rates, ten epochs of dynamic pixels, in float64: to 1e-10."""
    options = {"dynamic": True, "test_images": images(7), "beta_schedule": "linear"}
    options |= {"warmup_epochs": 4}
    assert_alike(together(name, **options), alone(name, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"network": "conv", "hidden": (4,)},
        {"network": "linear", "hidden": None, "objective": "elbo_analytic"},
        {"objective": "iwae", "num_particles": 3, "betas": [1.0] * 4},
        {"kind": pv.Autoencoder, "learning_rate_schedule": "cosine"},
        {"patience": 2, "validation_images": images(9)},
    ],
    ids=["conv", "linear", "iwae", "autoencoder", "patience"],
)
def test_every_kind_of_training_as_alone(interpreted, options):
    assert_alike(together(**options), alone(**options))


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_several_stacks_as_alone(interpreted, monkeypatch, at_once):
    """Four models in stacks of one and of two (with three at most, two and two)."""
    monkeypatch.setitem(ensembles.MOST_IN_A_STACK, "cpu", at_once)
    assert_alike(
        together("gaussian_optimal_sigma", dynamic=True),
        alone("gaussian_optimal_sigma", dynamic=True),
    )


def test_a_stack_may_have_idle_places(interpreted, monkeypatch):
    monkeypatch.setitem(ensembles.MOST_IN_A_STACK, "cpu", 2)
    many, single = models(count=3), models(count=3)
    run = pv.fit_many(many, images(), seeds=SEEDS[:3], **OPTIONS)
    assert [sorted(lap) for lap in run] == [[0, 1, 2]] * 10
    assert [stack.idle for stack in run.stacks] == [0, 1]
    for vae, other, seed in zip(many, single, SEEDS):
        list(pv.fit(other, images(), engine="eager", seed=seed, **OPTIONS))
        assert_alike([([], vae)], [([], other)])


@pytest.mark.parametrize("network, stacks", [("mlp", 1), ("conv", 4)])
def test_convolutions_are_not_stacked_on_a_cpu(interpreted, network, stacks):
    run = pv.fit_many(models(network=network, hidden=(4,)), images(), epochs=1)
    next(run)
    assert len(run.stacks) == stacks


def test_a_stop_between_two_stacks_loses_no_record(interpreted, monkeypatch):
    monkeypatch.setitem(ensembles.MOST_IN_A_STACK, "cpu", 2)
    whole = models()
    list(pv.fit_many(whole, images(), seeds=SEEDS, **OPTIONS))
    again = models()
    asked, options = iter([False] * 3 + [True] * 2), OPTIONS | {"should_stop": lambda: next(asked)}
    first = pv.fit_many(again, images(), seeds=SEEDS, **options)
    assert sorted(next(first)) == [0, 1]
    with pytest.raises(pv.training.Stopped):
        next(first)
    assert [m.step for m in first.members] == [2, 2, 1, 1]
    for member in first.members:
        member.should_stop = lambda: False
    list(first)
    assert_alike([([], m) for m in again], [([], m) for m in whole], 0)


def test_machine_code_as_alone():
    assert_alike(together(), alone())


def test_fixed_sigmas_may_differ(interpreted):
    sigmas = (0.1, 0.25, 0.5, 1.0)

    def each():
        return [models("gaussian_fixed_sigma", count=1, sigma=s)[0] for s in sigmas]

    many, single = each(), each()
    list(pv.fit_many(many, images(), **OPTIONS))
    for vae, other, sigma in zip(many, single, sigmas):
        list(pv.fit(other, images(), engine="eager", **OPTIONS))
        assert vae.likelihood.sigma == sigma
        pairs = zip(vae.state_dict().values(), other.state_dict().values())
        assert all((a - b).abs().max() <= 1e-10 for a, b in pairs)


def test_images_may_differ(interpreted):
    data = [images(), 1 - images(), images(), images()]
    many, single = models(), models()
    list(pv.fit_many(many, data, seeds=SEEDS, **OPTIONS))
    for vae, other, x, seed in zip(many, single, data, SEEDS):
        list(pv.fit(other, x, engine="eager", seed=seed, **OPTIONS))
        pairs = zip(vae.state_dict().values(), other.state_dict().values())
        assert all((a - b).abs().max() <= 1e-10 for a, b in pairs)


def test_one_that_diverges_stops_alone(interpreted):
    each = models("laplace")
    with torch.no_grad():
        next(each[2].decoder.parameters()).fill_(math.nan)
    laps = list(
        pv.fit_many(each, images(), betas=BETAS, seeds=SEEDS, learning_rates=RATES, **OPTIONS)
    )
    assert isinstance(laps[0][2], FloatingPointError)
    assert "is not finite at epoch 1, step 1" in str(laps[0][2])
    assert all(2 not in lap for lap in laps[1:]) and len(laps) == 10
    expected = alone_but(2, "laplace")
    assert_alike([([lap[i] for lap in laps], each[i]) for i in (0, 1, 3)], expected)


def alone_but(left_out, likelihood):
    each = models(likelihood)
    runs = []
    for i, (beta, seed, rate) in enumerate(zip(BETAS, SEEDS, RATES)):
        if i != left_out:
            row = {"beta": beta, "seed": seed, "learning_rate": rate}
            runs.append(
                (list(pv.fit(each[i], images(), engine="eager", **row, **OPTIONS)), each[i])
            )
    return runs


def test_members_are_restored_and_catch_up(interpreted):
    """Saved after different steps, one of them within an epoch: all end as if never stopped."""
    whole = together(dynamic=True)
    lists = {"betas": BETAS, "seeds": SEEDS, "learning_rates": RATES, "dynamic": True}
    first = pv.fit_many(models(), images(), **lists, **OPTIONS)
    states = {0: first.members[0].state()}
    for i in (1, 2):
        next(first)
        states[i] = first.members[i].state()
        states[i] = {k: _copied(v) for k, v in states[i].items()}
    asked = iter([False, True])
    for member in first.members:
        member.should_stop = lambda: next(asked)
    with pytest.raises(pv.training.Stopped):
        next(first)
    states[3] = first.members[3].state()
    assert [states[i]["step"] for i in range(4)] == [0, 2, 4, 5]
    again = models()
    second = pv.fit_many(again, images(), **lists, **OPTIONS)
    for i, member in enumerate(second.members):
        member.restore(states[i])
    list(second)
    assert_alike([([], m) for m in again], [([], m) for _, m in whole], 0)


def _copied(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "change, message",
    [
        ({"betas": [1.0]}, "betas: expected 4, one per model, got 1"),
        ({"seeds": [0] * 5}, "seeds: expected 4, one per model, got 5"),
        ({"learning_rates": [1e-3, -1.0, 1e-3, 1e-3]}, "learning_rate: expected a positive number"),
        ({"beta": -1.0}, "beta: expected a number >= 0"),
    ],
)
def test_wrong_lists_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        pv.fit_many(models(), images(), **change)


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
def test_models_of_other_shapes_are_refused(odd):
    with pytest.raises(ValueError, match="models: 2 is not of the shape of 0"):
        pv.fit_many([*models(count=2), *models(count=1, **odd)], images())


def test_no_models_are_refused():
    with pytest.raises(ValueError, match="models: expected one at least"):
        pv.fit_many([], images())


@pytest.mark.cuda
def test_cuda_graphs_of_an_ensemble_are_graphs_of_single_models():
    runs = [train(device="cuda", dynamic=True) for train in (together, alone)]
    assert_alike(*runs)
