"""Which components are in use."""

import torch

import pyro_vae as pv
from pyro_vae.evaluation.terms import active_units, collapsed_units, rate_per_component
from tests.support.linear_gaussian import drawn_images, linear_gaussian_vae, linear_layers


def test_units_that_carry_nothing_are_collapsed_and_inactive():
    vae, _ = linear_gaussian_vae(latent_dim=3)
    x = drawn_images(vae, 50)
    assert collapsed_units(rate_per_component(vae, x)) == 0 and active_units(vae, x) == 3
    encoder, _ = linear_layers(vae)
    with torch.no_grad():  # the first component: loc 0 and scale 1, as in the prior
        encoder.weight[0].zero_()
        encoder.bias[[0, 3]] = 0
    assert collapsed_units(rate_per_component(vae, x)) == 1
    assert active_units(vae, x) == 2


def test_a_point_has_no_rate():
    autoencoder = pv.Autoencoder((1, 2, 3), 2)
    assert torch.isnan(rate_per_component(autoencoder, torch.rand(5, 1, 2, 3))).all()
