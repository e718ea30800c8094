"""Engines train alike; which of them `auto` takes, what it turns to, and what is said of it."""

import itertools
import math

import pyro
import pytest
import torch

import pyro_vae as pv
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.training.engines import Eager, choose_engine
from pyro_vae.training.objectives import OBJECTIVES, Loss
from pyro_vae.training.step import numbers_compiled
from tests.support import fake_cuda, seams
from tests.support.programs import Choosy, Dropping, Straying, images, model
from tests.support.training import assert_same_records, assert_same_weights, particles, trained


@pytest.mark.slow
@pytest.mark.parametrize("name, objective", list(zip(LIKELIHOODS, OBJECTIVES)))
def test_svi_and_eager_train_alike(name, objective):
    """Records and weights after 6 steps, on the same noise, in float64.

    Each objective takes one family, since the gradients of all pairs agree. Adam divides by the root
    of the squared gradient, which magnifies rounding where that is tiny: hence 1e-7 on weights that
    moved by 6e-3.
    """
    options = particles(objective) | {"test_images": images()}
    records, weights = trained(model(name), engine="svi", **options)
    expected, reference = trained(model(name), engine="eager", **options)
    assert_same_weights(weights, reference, 1e-7)
    assert_same_records(records, expected, 1e-7)


ADAM = {"adam_beta1": 0.5, "adam_beta2": 0.9, "adam_epsilon": 1e-2, "clip_norm": 0.3}


@pytest.mark.parametrize("name", ADAM)
def test_each_setting_of_adam_changes_the_weights(name):
    usual, changed = trained(model())[1], trained(model(), **{name: ADAM[name]})[1]
    assert not all(map(torch.equal, usual.values(), changed.values()))


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, ADAM], ids=str)
def test_adam_is_the_same_under_every_engine(no_inductor, monkeypatch, change):
    """Under settings that all differ from the defaults; a stand-in records `graph`."""
    expected = trained(model(), engine="svi", **change)[1]
    for engine in ("eager", "compiled"):
        assert_same_weights(trained(model(), engine=engine, **change)[1], expected, 1e-8)
    fake_cuda.pretend(monkeypatch)
    weights = trained(model(), engine="graph", **change)[1]
    assert_same_weights(weights, expected, 1e-6)  # torch's fused Adam has its rate in float32


@pytest.mark.parametrize(
    "engine", ["svi", "eager", pytest.param("compiled", marks=pytest.mark.slow)]
)
def test_the_norm_of_all_gradients_together_is_clipped(no_inductor, engine):
    """Adam's averages after one step are half of the gradients. To 1e-6, which torch adds to a norm."""
    for norm, expected in [(0.3, 0.3), (1e6, None)]:
        options = {"clip_norm": norm, "adam_beta1": 0.5, "precision": "float64", "epochs": 1}
        run = pv.fit(model(), images(), engine=engine, batch_size=40, **options)
        list(run)
        averages = [2 * state["exp_avg"].flatten() for state in run.engine.adam_state().values()]
        found = torch.cat(averages).norm().item()
        assert found == pytest.approx(expected, rel=1e-6) if expected else found > 1


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_the_autoencoder_trains_and_has_no_rate(engine):
    records, _ = trained(model(kind=pv.Autoencoder), epochs=40, engine=engine)
    assert records[-1].train_distortion < records[0].train_distortion - 0.1
    assert records[-1].loss == pytest.approx(records[-1].train_distortion)
    assert math.isnan(records[-1].train_rate) and math.isnan(records[-1].train_elbo)


@pytest.mark.parametrize("kind", [Choosy, Straying])
def test_what_needs_pyros_estimators_is_for_svi_alone(kind):
    with pytest.raises(ValueError, match="use the engine svi"):
        trained(model(kind=kind), engine="eager")
    records, _ = trained(model(kind=kind), engine="svi")
    assert [math.isfinite(record.loss) for record in records] == [True] * 3


def test_the_seed_decides():
    """Under `eager`, whose noise the other engines draw."""
    first, same, other = (trained(model(), engine="eager", seed=seed)[1] for seed in (1, 1, 2))
    assert_same_weights(first, same)
    assert any(not torch.equal(weight, other[name]) for name, weight in first.items())


# --- the choice -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind, engine", [(Dropping, "eager"), (Choosy, "svi")])
def test_auto_turns_to_a_plainer_engine(monkeypatch, kind, engine):
    seams.set_steps_that_pay(0, monkeypatch.setattr)
    with pytest.warns(UserWarning, match=f"engine: {engine}, since"):
        _, weights = trained(model(kind=kind), engine="auto")
    assert_same_weights(weights, trained(model(kind=kind), engine=engine)[1])


@pytest.mark.parametrize("epochs, name", [(2_245, "eager"), (2_246, "compiled")])
def test_auto_compiles_where_enough_steps_are_to_come(epochs, name):
    """40 images make 2 steps of 16 an epoch. A step scores 16 images of 16 pixels by 2 numbers each.

    It counts as 1 + 512 / 250,000 of the 4,500 steps that are needed.
    """
    choice = pv.fit(model(), images(), epochs=epochs, batch_size=16).choice
    assert choice.name == name and f"{2 * epochs:,} steps" in choice.reason


@pytest.mark.parametrize(
    "likelihood, score, least",
    [
        ("laplace", "levels", 1_321),
        ("laplace", "density", 2_042),
        ("beta", "levels", 346),
        ("categorical", "levels", 4_500),
    ],
)
def test_auto_compiles_families_that_compute_more_in_a_step_earlier(likelihood, score, least):
    vae = pv.VAE((1, 28, 28), 2, likelihood, score=score)
    numbers = numbers_compiled(vae, 128)
    assert choose_engine("auto", least, "cpu", numbers).name == "compiled"
    assert choose_engine("auto", least - 1, "cpu", numbers).name == "eager"


def test_without_a_compiler_auto_is_eager_and_compiled_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    choice = pv.fit(model(), images(), epochs=10**6).choice
    assert choice == ("eager", True, "no C++ compiler (no-such-compiler)")
    with pytest.raises(ValueError, match=r"engine: no C\+\+ compiler .* use eager"):
        pv.fit(model(), images(), engine="compiled")


@pytest.fixture
def broken_compiler(monkeypatch):
    """Compiling fails, as on a full disk, at the step's first call."""

    def compile_step(step, *_):
        def fail(*arguments):
            raise OSError("no space left\nand a page of advice")

        return fail

    seams.put_compiler(compile_step, monkeypatch.setattr)


@pytest.mark.slow
def test_a_compiler_that_fails_is_named(broken_compiler):
    with pytest.raises(RuntimeError, match=r"^engine: no space left$"):
        trained(model(), engine="compiled")


@pytest.mark.slow
def test_auto_does_without_a_compiler_that_fails(broken_compiler, monkeypatch):
    seams.set_steps_that_pay(0, monkeypatch.setattr)
    with pytest.warns(UserWarning, match="engine: eager, since no space left"):
        _, weights = trained(model(), engine="auto")
    assert_same_weights(weights, trained(model(), engine="eager")[1])


def test_auto_resumes_as_it_began(monkeypatch):
    """Whatever it would choose for the steps that remain, or after a change of the machine."""
    seams.set_steps_that_pay(10, monkeypatch.setattr)
    first = pv.fit(model(), images(), batch_size=16, epochs=5)
    seams.set_steps_that_pay(11, monkeypatch.setattr)
    second = pv.fit(model(), images(), batch_size=16, epochs=5)
    assert (first.engine.name, second.engine.name) == ("compiled", "eager")
    second.restore(first.state())
    assert second.choice == ("compiled", True, "as before")
    assert second.engine.name == "compiled"


# --- CUDA -----------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("engine", ["svi", "eager"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_cuda_trains_every_family(name, engine):
    vae = model(name)
    records = list(pv.fit(vae, images(), epochs=40, device="cuda", engine=engine, batch_size=16))
    assert {p.device.type for p in vae.parameters()} == {"cuda"}
    assert records[-1].loss < records[0].loss


@pytest.mark.cuda
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_eager_step_does_not_wait_for_the_gpu(name):
    x = images().to("cuda")
    pyro.enable_validation(False)
    for score, objective in itertools.product(["density", "levels"], OBJECTIVES):
        engine = Eager(Loss(model(name, score=score).to("cuda"), OBJECTIVES[objective], 2))
        engine.step(x, 1.0, 1e-3)
        torch.cuda.set_sync_debug_mode("error")
        try:
            engine.step(x, 1.0, 1e-3)
        finally:
            torch.cuda.set_sync_debug_mode("default")
