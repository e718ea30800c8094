"""The terms of the ELBO and what else a run's summary says of its model."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.terms import (
    active_units,
    collapsed_units,
    mean_variance_per_component,
    means,
    per_image,
    rate_per_component,
)
from pyro_vae.models.elbo import elbo_terms
from tests.support.linear_gaussian import drawn_images, linear_gaussian_vae, linear_layers


@pytest.fixture(scope="module")
def images(digits):
    return digits.test.images[:50]


@pytest.fixture(scope="module")
def vae():
    return pv.VAE((1, 8, 8), 2, hidden=(8,), levels=17).eval()


def test_the_means_are_those_of_the_columns_of_each_image(vae, images):
    columns = per_image(vae, images, 17, 2, seed=3)
    measured = means(vae, images, columns, 2)
    terms = elbo_terms(vae, images, seed=3)
    assert torch.equal(columns["log_prob_nats"], importance_bound(vae, images, 2, 3).log_prob)
    assert measured["images"] == 50 and measured["bits_per_dim_samples"] == 2
    assert measured["elbo_nats"].mean == pytest.approx(terms.elbo.mean().item(), rel=1e-6)
    assert measured["rate_nats"].mean == pytest.approx(
        sum(measured["rate_per_component_nats"]), rel=1e-5
    )


def test_bits_need_known_grey_levels(vae, images):
    measured = means(vae, images, per_image(vae, images, None, 2), 2)
    assert measured["bits_per_dim"] is None and measured["bits_per_dim_samples"] is None
    assert measured["elbo_nats"] is not None


def active(vae, x):
    return active_units(mean_variance_per_component(vae, x))


def test_units_that_carry_nothing_are_collapsed_and_inactive():
    vae, _ = linear_gaussian_vae(latent_dim=3)
    x = drawn_images(vae, 50)
    assert collapsed_units(rate_per_component(vae, x)) == 0 and active(vae, x) == 3
    encoder, _ = linear_layers(vae)
    with torch.no_grad():  # the first component: loc 0 and scale 1, as in the prior
        encoder.weight[0].zero_()
        encoder.bias[[0, 3]] = 0
    assert collapsed_units(rate_per_component(vae, x)) == 1 and active(vae, x) == 2


def test_a_point_has_no_rate(images):
    autoencoder = pv.Autoencoder((1, 8, 8), 2).eval()
    assert rate_per_component(autoencoder, images) is None
    measured = means(autoencoder, images, per_image(autoencoder, images, 17, 2), 2)
    undefined = ("elbo_nats", "rate_nats", "rate_per_component_nats", "collapsed_units")
    assert [measured[name] for name in undefined] == [None] * 4
    assert measured["bits_per_dim"] is None and measured["distortion_nats"] is not None
