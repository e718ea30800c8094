"""What a run's summary says of its model."""

import pytest

import pyro_vae as pv
from pyro_vae.evaluation.terms import means, per_image
from pyro_vae.models.elbo import elbo_terms


def measure(model, images, levels, num_samples, seed=0):
    """The means of the columns of each image."""
    columns = per_image(model, images, levels, num_samples, seed)
    return means(model, images, columns, num_samples)


@pytest.fixture(scope="module")
def vae(digits):
    """A model that has learned something."""
    model = pv.VAE((1, 8, 8), 2, hidden=(8,), levels=17)
    list(pv.fit(model, digits.train.images, epochs=20, learning_rate=0.01))
    return model


def test_more_samples_tighten_the_bound(vae, digits):
    images = digits.test.images
    few, many = (measure(vae, images, 17, count)["bits_per_dim"] for count in (1, 50))
    assert many.mean < few.mean


def test_the_elbo_is_that_of_the_models_terms(vae, digits):
    measures = measure(vae, digits.test.images, 17, 2, seed=3)
    terms = elbo_terms(vae, digits.test.images, seed=3)
    assert measures["images"] == 360 and measures["bits_per_dim_samples"] == 2
    assert measures["elbo_nats"].mean == pytest.approx(terms.elbo.mean().item(), rel=1e-6)
    assert measures["rate_nats"].mean == pytest.approx(
        sum(measures["rate_per_component_nats"]), rel=1e-5
    )


def test_bits_need_known_grey_levels(vae, digits):
    measures = measure(vae, digits.test.images, None, 2)
    assert measures["bits_per_dim"] is None and measures["bits_per_dim_samples"] is None
    assert measures["elbo_nats"] is not None
