"""The choice of an engine: what `auto` takes, what it turns to, and what is said of it."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.engines import Compiled
from tests.programs import Choosy, Dropping, images, model


def trained(engine, vae, **options):
    settings = {"epochs": 10, "batch_size": 16, "precision": "float64"}
    list(pv.fit(vae, images(), engine=engine, **(settings | options)))
    return vae.state_dict()


def assert_same(one, other):
    for a, b in zip(one.values(), other.values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind, engine", [(Dropping, "eager"), (Choosy, "svi")])
def test_auto_turns_to_a_plainer_engine(monkeypatch, kind, engine):
    monkeypatch.setattr("pyro_vae.training.engines.STEPS_THAT_PAY", 0)
    with pytest.warns(UserWarning, match=f"engine: {engine}, since"):
        weights = trained("auto", model(kind=kind))
    assert_same(weights, trained(engine, model(kind=kind)))


@pytest.mark.parametrize("epochs, name", [(9_999, "eager"), (10_000, "compiled")])
def test_auto_compiles_where_enough_steps_are_to_come(epochs, name):
    """40 images make 2 steps of 16 an epoch."""
    choice = pv.fit(model(), images(), epochs=epochs, batch_size=16).choice
    assert choice.name == name and f"{2 * epochs:,} steps" in choice.reason


def test_without_a_compiler_auto_is_eager_and_compiled_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    choice = pv.fit(model(), images(), epochs=10**6).choice
    assert choice == ("eager", True, "no C++ compiler (no-such-compiler)")
    with pytest.raises(ValueError, match=r"engine: no C\+\+ compiler .* use eager"):
        pv.fit(model(), images(), engine="compiled")


def test_a_compiler_that_fails_is_named(monkeypatch):
    def broken(step, device):
        def fail(*_):
            raise OSError("no space left\nand a page of advice")

        return fail

    monkeypatch.setattr(Compiled, "compile", staticmethod(broken))
    with pytest.raises(RuntimeError, match=r"^engine: no space left$"):
        trained("compiled", model())
    monkeypatch.setattr("pyro_vae.training.engines.STEPS_THAT_PAY", 0)
    with pytest.warns(UserWarning, match="engine: eager, since no space left"):
        weights = trained("auto", model())
    assert_same(weights, trained("eager", model()))


def test_auto_goes_on_as_it_began(monkeypatch):
    monkeypatch.setattr(Compiled, "compile", staticmethod(lambda step, device: step))
    monkeypatch.setattr("pyro_vae.training.engines.STEPS_THAT_PAY", 10)
    options = {"batch_size": 16, "precision": "float64"}
    first = pv.fit(model(), images(), epochs=5, **options)
    next(first)
    monkeypatch.setattr("pyro_vae.training.engines.STEPS_THAT_PAY", 11)
    second = pv.fit(model(), images(), epochs=5, **options)
    assert (first.engine.name, second.engine.name) == ("compiled", "eager")
    second.restore(first.state())
    assert second.choice == ("compiled", True, "as before")
    list(first), list(second)
    assert_same(*(run.engine.model.state_dict() for run in (first, second)))
