"""The autoencoder is the likelihood alone."""

import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

import pyro_vae as pv
from tests.support.programs import images, model


@pytest.mark.parametrize("beta", [1.0, 7.0])
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_its_elbo_is_the_log_likelihood_of_reconstructions(elbo, beta):
    autoencoder, x = model(kind=pv.Autoencoder), images(5)
    log_prob = autoencoder.decode(autoencoder.encode(x).mean).log_prob(x)
    loss = elbo().loss(autoencoder.model, autoencoder.guide, x, beta=beta)
    assert loss == pytest.approx(-log_prob.sum().item())


def test_its_posterior_is_a_point():
    q = model(kind=pv.Autoencoder).encode(images(5))
    assert torch.equal(q.sample(), q.mean)
    assert torch.equal(q.variance, torch.zeros_like(q.mean))


def test_its_networks_are_those_of_a_vae_but_for_the_scales():
    vae, autoencoder = model(), model(kind=pv.Autoencoder)
    shapes = [[p.shape for p in each.decoder.parameters()] for each in (vae, autoencoder)]
    assert shapes[0] == shapes[1]
    *_, outputs = autoencoder.encoder.parameters()
    *_, outputs_with_scales = vae.encoder.parameters()
    assert (len(outputs), len(outputs_with_scales)) == (2, 4)
