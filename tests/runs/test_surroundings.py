"""What a program around the package does: threads, and a default device of its own."""

from concurrent.futures import ThreadPoolExecutor

import pyro
import pytest
import torch

import pyro_vae as pv
from tests.support.runs import assert_same_run, quick
from tests.support.training import assert_same_weights

pytestmark = [pytest.mark.usefixtures("elsewhere", "no_pictures")]
CASES = [
    {"seed": 0},
    {"seed": 1, "engine": "svi"},
    {"seed": 2, "binarize": "dynamic", "patience": 9},
]


@pytest.mark.slow
def test_trainings_in_threads_are_those_of_one_after_the_other():
    """Random state, Pyro's parameters and its validation belong to the process."""
    configs = [quick(**case) for case in CASES]
    with ThreadPoolExecutor(len(configs)) as pool:
        list(pool.map(lambda n: pv.train(configs[n], f"thread{n}"), range(len(configs))))
    assert pyro.infer.util.is_validation_enabled()
    for n, config in enumerate(configs):
        pv.train(config, f"alone{n}")
        assert_same_run(f"thread{n}", f"alone{n}")


def untrained(seed):
    """A model of the digits."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return pv.VAE((1, 8, 8), latent_dim=2, hidden=(8,), levels=17)


def trained(vae, digits, seed):
    """The weights of the model after some epochs."""
    list(pv.fit(vae, digits.train.images, epochs=4, seed=seed))
    return vae.state_dict()


@pytest.mark.slow
def test_fits_in_threads_take_turns(digits):
    expected = [trained(untrained(seed), digits, seed) for seed in range(4)]
    models = [untrained(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda seed: trained(models[seed], digits, seed), range(4))
    for weights, alone in zip(found, expected, strict=True):
        assert_same_weights(weights, alone)


@pytest.fixture
def other_device():
    """A default device on which nothing can be computed."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_default_device_changes_nothing(other_device, case):
    run = pv.train(quick(**case), "a")
    figures = pv.evaluate("a", only=["latents"], quick=True)
    torch.set_default_device(None)
    assert_same_run("a", pv.train(quick(**case), "b").folder)
    again = pv.evaluate(pv.load_run("b"), only=["latents"], quick=True)
    assert {**again["latents"], "checkpoint": ""} == {**figures["latents"], "checkpoint": ""}
    assert run.summary["test"] == pv.load_run("b").summary["test"]


def test_a_fit_and_a_page_stay_where_their_model_is(other_device, digits, copy_run):
    torch.set_default_device(None)
    expected, vae = trained(untrained(3), digits, 3), untrained(3)
    copy_run("a")
    torch.set_default_device("meta")
    assert_same_weights(trained(vae, digits, 3), expected)
    assert pv.explore("a").exists()
    assert pv.measure("a", brightness)["brightness"].item() > 0


def brightness(subject):
    """The mean of the test images."""
    return {"brightness": subject.test.mean().item()}
