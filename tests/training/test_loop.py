"""What a record says, which epoch is the best, and a state from which training resumes bit for bit."""

import math
from contextlib import contextmanager

import pytest
import torch

import pyro_vae as pv
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.training import loop
from pyro_vae.training.engines import Eager
from pyro_vae.training.loop import Stopped
from tests.support import fake_cuda, seams
from tests.support.programs import SHAPE, images, model
from tests.support.training import (
    assert_same_records,
    assert_same_weights,
    full_training,
    stop_after,
    through_a_file,
    trained,
)


def test_a_record_says_what_was_trained():
    records, _ = trained(model(), test_images=images(7), beta=0.5)
    assert [r.epoch for r in records] == [1, 2, 3]
    assert [r.step for r in records] == [2, 4, 6]  # 40 images in batches of 16: 8 dropped
    assert all(0 < a.seconds < b.seconds for a, b in zip(records, records[1:]))
    for r in records:
        assert r.loss == pytest.approx(r.train_distortion + 0.5 * r.train_rate)
        assert r.train_elbo == pytest.approx(-r.train_distortion - r.train_rate)
        assert r.test_elbo == pytest.approx(-r.test_distortion - r.test_rate)


def test_test_figures_are_those_of_the_weights_at_the_epochs_end():
    vae, x = model(), images(7)
    for record in pv.fit(vae, images(), test_images=x, epochs=2, batch_size=16):
        terms = elbo_terms(vae, x)
        assert record.test_rate == pytest.approx(terms.rate.mean().item(), rel=1e-6)
        assert record.test_distortion == pytest.approx(terms.distortion.mean().item(), rel=1e-6)


def test_an_epoch_takes_every_image_once_in_an_order_of_its_own():
    """40 images in batches of 8; the order does not depend on the noise."""
    run, orders = full_training(), []
    for _ in range(2):
        orders.append(run.draw_epoch().rows.flatten())
        next(run)
    assert [sorted(order.tolist()) for order in orders] == [list(range(40))] * 2
    assert not torch.equal(*orders)
    assert torch.equal(orders[0], full_training(dynamic=False).draw_epoch().rows.flatten())


def test_dynamic_pixels_are_drawn_anew_each_epoch(monkeypatch):
    seen, take_step = [], Eager.step

    def noted(engine, x, *schedules):
        seen.append(x)
        return take_step(engine, x, *schedules)

    monkeypatch.setattr(Eager, "step", noted)
    trained(model(), torch.full((16, *SHAPE), 0.3), dynamic=True)
    assert len(seen) == 3 and not torch.equal(seen[0].sum(0), seen[1].sum(0))
    assert all(((x == 0) | (x == 1)).all() for x in seen)
    mean = torch.stack(seen).mean()
    assert abs(mean - 0.3) < 5 * math.sqrt(0.21 / (3 * 16 * 16))


def test_the_optimal_sigma_is_the_training_sets_error():
    vae = model("gaussian_optimal_sigma")
    trained(vae, epochs=20)
    with torch.no_grad():
        x = images().double()
        z = vae.encode(x).sample((400,))
        rmse = (vae.decode(z).mean - x).square().mean().sqrt()
    assert vae.likelihood.sigma.item() == pytest.approx(rmse.item(), rel=0.03)  # one draw of z


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["svi", "eager", "compiled"])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_loss_that_is_not_finite_stops_training_and_is_named(no_inductor, part, engine):
    vae = model("laplace" if part == "encoder" else "bernoulli")
    with torch.no_grad():
        next(getattr(vae, part).parameters()).fill_(math.nan)
    with pytest.raises(FloatingPointError, match="is not finite at epoch 1, step 1; try a smaller"):
        list(pv.fit(vae, images(), test_images=images(), engine=engine))


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_weights_that_the_last_step_blew_up_are_named(engine):
    with pytest.raises(FloatingPointError, match="not finite at epoch"):
        list(pv.fit(model("laplace"), images(), learning_rate=1e20, epochs=9, engine=engine))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["svi", "eager", "graph", "compiled"])
def test_only_what_is_on_the_models_device_is_looked_at(monkeypatch, no_inductor, engine):
    """At the end of an epoch; Adam's count of steps is on the CPU, wherever the model is."""
    fake_cuda.pretend(monkeypatch)
    vae, looked_at = model(), []
    monkeypatch.setattr(loop, "all_finite", lambda tensors: looked_at.extend(tensors) or True)
    trained(vae, engine=engine, epochs=1)
    shapes = {tensor.shape for tensor in [*vae.parameters(), *vae.buffers()]}
    assert len(looked_at) > 2 * len(list(vae.parameters()))
    assert {tensor.shape for tensor in looked_at} == shapes


# --- the state of a training ----------------------------------------------------------------------


def stopped(steps, engine="eager", **options):
    """The full training, stopped after so many steps, and the records until then."""
    run, records = full_training(engine, should_stop=stop_after(steps), **options), []
    with pytest.raises(Stopped):
        while True:
            records.append(next(run))
    assert run.step == steps
    return run, records


@pytest.mark.slow
@pytest.mark.parametrize(
    "first, second, steps",
    [
        *(("eager", "eager", steps) for steps in (0, 4, 5, 24)),  # five steps make an epoch
        ("svi", "svi", 13),
        ("compiled", "compiled", 12),
        ("eager", "svi", 0),
        ("svi", "eager", 12),
        ("eager", "svi", 12),
        ("compiled", "eager", 12),
    ],
)
@pytest.mark.filterwarnings("ignore:engine. .* continues")
def test_a_restored_training_is_the_uninterrupted_one(no_inductor, first, second, steps):
    """Stopped before, at the end of, and within epochs; restored twice, also under another engine.

    In float64; Adam magnifies rounding where gradients are tiny, hence 1e-7 between engines.
    """
    tolerance = 0 if first == second else 1e-7
    whole = full_training(second, precision="float64")
    expected = list(whole)
    begun, records = stopped(steps, first, precision="float64")
    state = through_a_file(begun.state())
    assert (state["adam"] == {}) == (steps == 0)
    for _ in range(2):  # what is trained from a state does not change it
        torch.rand(99)
        resumed = full_training(second, precision="float64")
        resumed.restore(state)
        assert_same_records(records + list(resumed), expected, tolerance)
        assert_same_weights(resumed.model.state_dict(), whole.model.state_dict(), tolerance)
        assert resumed.best_epoch == whole.best_epoch and resumed.seconds > begun.seconds
        assert resumed.best_loss == pytest.approx(whole.best_loss, rel=tolerance)


def without(*path):
    """A change of a state that takes out what stands there."""

    def take_out(state):
        *way, last = path
        for key in way:
            state = state[key]
        del state[last]

    return take_out


def with_value(value, *path):
    """A change of a state that puts a value there."""

    def put(state):
        *way, last = path
        for key in way:
            state = state[key]
        assert last in state
        state[last] = value

    return put


WEIGHT = "encoder.1.weight"


@pytest.mark.parametrize(
    "damage, message",
    [
        (without("order"), "does not fit this run .'order'"),
        (with_value(torch.zeros(3, dtype=torch.uint8), "order"), "does not fit this run"),
        (with_value([torch.zeros(3)], "random"), "does not fit this run"),
        (without("model", WEIGHT), "does not fit this run .*state_dict"),
        (with_value(7, "model"), "does not fit this run"),
        (with_value(torch.zeros(1, 3), "terms"), "another number of images"),
        (with_value(99 * 5, "step"), "epochs: 99 are done already, got 5"),
        (without("adam", WEIGHT, "exp_avg"), "does not fit this run .'exp_avg'"),
        (
            with_value(torch.zeros(9, 9), "adam", WEIGHT, "exp_avg"),
            "does not fit this run .expected Adam's averages of shape",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(damage, message):
    run = full_training()
    next(run)
    state = through_a_file(run.state())
    full_training().restore(state)
    damage(state)
    with pytest.raises(ValueError, match=message):
        full_training().restore(state)


# --- selection ------------------------------------------------------------------------------------


def test_patience_ends_training_at_the_validation_sets_word():
    options = {"learning_rate": 0.1, "learning_rate_schedule": "constant"}
    run = full_training(epochs=200, patience=4, **options)
    records = list(run)
    losses = {r.epoch: r.validation_loss for r in records if r.epoch > 2}  # after the warm-up
    assert run.best_epoch == min(losses, key=losses.get) and run.best_loss == min(losses.values())
    assert len(records) == run.best_epoch + 4 < 200
    assert records[-1].validation_loss > run.best_loss


def test_the_validation_loss_is_distortion_and_beta_times_rate():
    run = full_training(epochs=1, warmup_epochs=1, patience=1, test_images=images(9))
    record = next(run)
    expected = record.test_distortion + 2.0 * record.test_rate
    assert record.validation_loss == pytest.approx(expected, rel=1e-6)
    assert run.best_epoch is None  # still warming up


@pytest.mark.slow
@pytest.mark.parametrize("hidden, alone", [((8,), True), ((512,), False)])
def test_a_small_compiled_step_has_one_thread(hidden, alone, monkeypatch):
    """While it is compiled and while it is taken, and nowhere else."""
    threads = []

    def watched(step, *where):
        threads.append(torch.get_num_threads())

        def take(*arguments):
            threads.append(torch.get_num_threads())
            return step(*arguments)

        return take

    seams.put_compiler(watched, monkeypatch.setattr)
    vae = pv.VAE((1, 8, 8), 2, "bernoulli", hidden=hidden, levels=2)
    x = pv.load_dataset("digits", binarize="threshold").train.images[:128]
    with with_threads(2):
        training = pv.fit(vae, x, engine="compiled", epochs=1, batch_size=64)
        list(training)
        assert len(threads) > 2 and set(threads) == {1 if alone else 2}
        assert torch.get_num_threads() == 2


@contextmanager
def with_threads(count):
    """So many threads inside, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)
