"""`fit`: nothing leaks in or out, closed forms are reached, and wrong arguments are named at once."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.estimates import COLLAPSED_RATE
from pyro_vae.evaluation.exact import linear_optimum
from pyro_vae.evaluation.terms import rate_per_component
from pyro_vae.settings import TrainingSettings
from tests.support.programs import SHAPE, images, model
from tests.support.training import (
    assert_same_weights,
    full_training,
    trained,
)


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_what_happens_between_records_changes_no_weight(engine):
    """Sampling, other training, validation and parameter stores on the outside stay outside."""
    options = {"epochs": 4, "engine": engine, "batch_size": 16, "dynamic": True}
    quiet, busy = model(), model()
    list(pv.fit(quiet, images(), **options))
    for _ in pv.fit(busy, images(), **options):
        busy.sample(3)
        busy.reconstruct(images(2))
        trained(model(), engine=engine)
        pyro.enable_validation(not pyro.infer.util.is_validation_enabled())
        pyro.clear_param_store()
        torch.manual_seed(99)
    assert_same_weights(quiet.state_dict(), busy.state_dict())


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_training_leaves_the_callers_state_alone(engine):
    pyro.param("mine", torch.ones(2))
    vae, before = model(), torch.get_rng_state()
    for _ in pv.fit(vae, images(), epochs=2, engine=engine, dynamic=True):
        assert pyro.infer.util.is_validation_enabled()
        assert torch.distributions.Distribution._validate_args
        assert list(pyro.get_param_store().keys()) == ["mine"]
    assert torch.equal(torch.get_rng_state(), before)


def warned(call):
    """The warnings of a call whose result is dropped."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    return [str(each.message) for each in seen if each.category is RuntimeWarning]


@pytest.mark.parametrize("function", [pv.fit, pytest.param(pv.fit_many, marks=pytest.mark.slow)])
def test_a_call_alone_says_that_nothing_was_trained(no_inductor, function):
    """As Python does of a coroutine that was never awaited; what a notebook shows says it, too."""

    def made():
        vae = model()
        return function(vae if function is pv.fit else [vae], images(), epochs=1)

    (said,) = warned(made)
    assert said.startswith("nothing was trained: a training trains while you iterate")
    used = [lambda: next(made()), lambda: made().prepare(), lambda: list(made())]
    assert [warned(call) for call in used] == [[], [], []]
    assert "trains while you iterate" in repr(pv.fit(model(), images()))


def test_what_is_restored_or_refused_says_nothing():
    state = full_training().state()
    assert warned(lambda: full_training().restore(state)) == []
    with pytest.raises(ValueError, match="batch_size"):
        assert warned(lambda: pv.fit(model(), images(), batch_size=99)) == []


@pytest.mark.slow
@pytest.mark.parametrize("precision, dtype", [("float64", torch.float64), ("bf16", torch.float32)])
def test_precisions(precision, dtype):
    vae = model("gaussian_shared_sigma")
    records = list(pv.fit(vae, images(), epochs=60, precision=precision, batch_size=16))
    assert {p.dtype for p in vae.parameters()} == {dtype}
    assert records[-1].loss < records[0].loss


def test_all_of_few_images_make_a_minibatch():
    run = pv.fit(model(), images(40))
    assert run.settings == replace(TrainingSettings(), batch_size=40)
    assert pv.fit(model(), images(200)).settings.batch_size == 128


@pytest.mark.long
def test_components_collapse_where_the_closed_form_says(no_inductor, digits):
    """Four betas, trained together; smaller ones would take more epochs."""
    x, betas = digits.train.images, [1, 4, 8, 30]
    family = {"likelihood": "gaussian_fixed_sigma", "sigma": 0.25, "levels": 17}
    models = []
    for _ in betas:
        torch.manual_seed(0)  # at others, beta = 30 would take more epochs
        models.append(pv.VAE((1, 8, 8), 8, network="linear", **family))
    settings = {"objective": "elbo_analytic", "learning_rate": 0.01, "epochs": 200}
    list(pv.fit_many(models, x, betas=betas, learning_rate_schedule="cosine", **settings))
    for beta, vae in zip(betas, models):
        exact = linear_optimum(x, 8, beta, 0.25)
        rates = rate_per_component(vae, x).mean(0)
        assert int((rates > COLLAPSED_RATE).sum()) == exact.active
        assert abs(rates.sum().item() - exact.rate) < max(0.03 * exact.rate, 0.02)


# --- refusals -------------------------------------------------------------------------------------

HELD_OUT = torch.zeros(2, *SHAPE)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objective": "elb"}, "objective: unknown name 'elb'; did you mean one of elbo, elbo_an"),
        ({"batch_size": 41}, "batch_size: expected 1 to 40 images, got 41"),
        ({"patience": 3}, "patience: goes with validation_images, and they with it; got 3"),
        ({"validation_images": HELD_OUT}, "patience: goes with validation_images, .* got None"),
    ],
)
def test_wrong_arguments_are_named_at_once(options, message):
    """One setting stands for all, which the tests of settings go through."""
    with pytest.raises(ValueError, match=message):
        pv.fit(model(), images(), **({"epochs": 3} | options))


def test_an_argument_that_is_no_setting_is_an_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        pv.fit(model(), images(), epoch=3)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    "name, pixels, message",
    [
        ("images", math.nan, "images: expected finite pixels, got NaN or infinite ones"),
        ("images", 2.0, r"images: expected pixels in \[0, 1\], got 0 to 2"),
        ("test_images", math.nan, "images: expected finite pixels, got NaN or infinite ones"),
        ("validation_images", 2.0, r"images: expected pixels in \[0, 1\], got 0 to 2"),
    ],
)
def test_images_outside_the_support_are_refused_at_once(name, pixels, message, dynamic):
    arguments = {"images": images(), name: images() * pixels, "dynamic": dynamic}
    arguments |= {"patience": 3} if name == "validation_images" else {}
    with pytest.raises(ValueError, match=message):
        pv.fit(model(), **arguments)


@pytest.mark.parametrize("name", ["images", "test_images", "validation_images"])
@pytest.mark.parametrize(
    "wrong, got",
    [
        (torch.zeros(5, 1, 16, 1), r"got \(5, 1, 16, 1\)"),  # which broadcasts against (1, 1, 16)
        (torch.zeros(5, 1, 4, 1), r"got \(5, 1, 4, 1\)"),
        (torch.zeros(5, 4, 4), r"got \(5, 4, 4\)"),
        (torch.zeros(5, 2, 1, 1, 16), r"got \(5, 2, 1, 1, 16\)"),
        (torch.zeros(0, 1, 1, 16), r"got \(0, 1, 1, 16\)"),
        (torch.tensor(1.0), r"got \(\)"),
        (np.zeros((5, 1, 1, 16)), "got a numpy.ndarray"),
    ],
)
def test_images_of_another_shape_are_refused_in_one_line(name, wrong, got):
    vae = pv.VAE((1, 1, 16), 2, hidden=(4,))
    arguments = {"images": torch.zeros(5, 1, 1, 16), name: wrong}
    arguments |= {"patience": 3} if name == "validation_images" else {}
    expected = rf"{name}: expected a tensor \(N, 1, 1, 16\) of at least one image, {got}"
    with pytest.raises(ValueError, match=expected):
        pv.fit(vae, **arguments)
    with pytest.raises(ValueError, match=expected):
        pv.fit_many([vae], **arguments)


def test_pixels_between_the_grey_levels_are_refused_at_once():
    with pytest.raises(ValueError, match="17 grey levels"):
        pv.fit(model("categorical", levels=17), images() * 0.51)
