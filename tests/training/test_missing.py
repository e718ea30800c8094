"""Training on images with missing pixels equals Pyro's own masked programs, in every engine."""

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyro_vae as pv
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.training.objectives import OBJECTIVES, Loss
from pyro_vae.training.programs import per_image
from tests.support import fake_cuda
from tests.support.programs import SHAPE, images, model
from tests.support.training import (
    assert_same_records,
    assert_same_weights,
    eager_gradients,
    particles,
    trained,
)

GAUSSIAN = {"likelihood": "gaussian_pixel_sigma"}


def holes(count=40):
    """Noise of two levels, of which about a third of the pixels is missing; one image has none."""
    x = images(count)
    draws = torch.rand(x.shape, generator=torch.Generator().manual_seed(6))
    x[draws < 0.3] = torch.nan
    x[3] = torch.nan
    return x


def masked_programs(vae, x):
    """Stock Pyro: a site for every pixel under `poutine.mask`, noise where pixels are missing."""
    observed = ~x.isnan()
    values = torch.where(observed, x, 7 * torch.randn_like(x))

    def program(x, beta):
        pyro.module(vae.name, vae)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", vae.prior)
            p = vae.likelihood(vae.outputs(z)).base_dist
            for c, i, j in itertools.product(*map(range, SHAPE)):
                with poutine.mask(mask=observed[:, c, i, j]):
                    pixel = dist.Normal(p.loc[..., c, i, j], p.scale[..., c, i, j])
                    pyro.sample(f"x_{c}_{i}_{j}", pixel, obs=values[:, c, i, j])

    def guide(x, beta):
        pyro.module(vae.name, vae)
        with pyro.plate("data", len(x)):
            pyro.sample("z", vae.encode(torch.where(observed, x, 0.0)))

    return per_image(program), per_image(guide)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_and_gradients_are_those_of_pyros_masked_sites(objective):
    """In float64 to 1e-10; so they do not depend on what stands in place of a missing pixel."""
    vae, x = model(**GAUSSIAN).double(), holes(9).double()
    loss = Loss(
        vae.given(missing=True), OBJECTIVES[objective], particles(objective)["num_particles"]
    )
    terms, expected = eager_gradients(loss, x, 1.0)
    stock = masked_programs(vae, x)
    torch.manual_seed(1)
    value = loss.estimator(len(x)).loss_and_grads(*stock, x, 1.0)
    assert value == pytest.approx(terms[0].item(), rel=1e-10)
    for name, p in vae.named_parameters():
        assert (p.grad - expected[name]).abs().max() <= 1e-10 * max(1, expected[name].abs().max())


@pytest.mark.parametrize("engine", ["svi", pytest.param("compiled", marks=pytest.mark.slow)])
def test_engines_train_alike(no_inductor, engine):
    """Records with those of test images, and weights; `test_svi_and_eager_train_alike` says to what."""
    options = {"test_images": holes(30)}
    records, weights = trained(model(**GAUSSIAN), holes(), engine=engine, **options)
    expected, reference = trained(model(**GAUSSIAN), holes(), engine="eager", **options)
    assert_same_weights(weights, reference, 1e-7)
    assert_same_records(records, expected, 1e-7)


@pytest.mark.slow
def test_recorded_steps_are_eager_steps(no_inductor, monkeypatch):
    expected = trained(model(), holes(), engine="eager")[1]
    fake_cuda.pretend(monkeypatch)
    assert_same_weights(trained(model(), holes(), engine="graph")[1], expected, 1e-6)


@pytest.mark.slow
def test_ensembles_train_as_one_model_does(no_inductor):
    settings = {"epochs": 3, "batch_size": 16, "precision": "float64"}
    stacked = [model(**GAUSSIAN, seed=seed) for seed in range(2)]
    list(pv.fit_many(stacked, holes(), **settings))
    for seed, vae in enumerate(stacked):
        weights = trained(model(**GAUSSIAN, seed=seed), holes(), engine="eager")[1]
        assert_same_weights(vae.state_dict(), weights, 1e-10)
    with pytest.raises(ValueError, match="models: 1 is not of the architecture of 0"):
        pv.fit_many(stacked, [holes(), images()], **settings)


def test_whole_images_train_as_ever_and_a_missing_pixel_changes_the_programs():
    vae = model(**GAUSSIAN)
    assert pv.fit(vae, images()).model is vae
    training = pv.fit(vae, holes())
    assert training.model is not vae and training.model.missing and not vae.missing
    next(training)
    assert not vae.training and not vae.encoder.training
    assert_same_weights(vae.state_dict(), training.model.state_dict())


@pytest.mark.parametrize("name", ["test_images", "validation_images"])
def test_pixels_may_be_missing_in_held_out_images_alone(name):
    """They are scored by the pixels that are there, and whole images train as ever."""
    options = {"patience": 9} if name == "validation_images" else {}
    vae = model(**GAUSSIAN)
    record = next(pv.fit(vae, images(), **{name: holes(20)}, **options))
    scored = -elbo_terms(vae.given(missing=True), holes(20)).elbo.mean().item()
    found = record.validation_loss if options else -record.test_elbo
    assert found == pytest.approx(scored, rel=1e-5)


@pytest.mark.parametrize(
    "change, options, message",
    [
        (lambda x: x, {"likelihood": "gaussian_optimal_sigma"}, "use gaussian_shared_sigma"),
        (lambda x: x * torch.inf, {}, "images: expected finite pixels"),
        (lambda x: x + 1, {}, r"images: expected pixels in \[0, 1\], got 1 to 2"),
        (lambda x: x * torch.nan, {}, "images: expected finite pixels"),
        (lambda x: x / 2, {"likelihood": "categorical"}, "images: expected the 2 grey levels"),
    ],
)
def test_pixels_that_are_there_are_checked(change, options, message):
    with pytest.raises(ValueError, match=message):
        pv.fit(model(**(GAUSSIAN | options)), change(holes()))


def test_probabilities_of_binary_pixels_are_whole():
    with pytest.raises(ValueError, match="images: expected finite pixels"):
        pv.fit(model(), holes(), dynamic=True)
