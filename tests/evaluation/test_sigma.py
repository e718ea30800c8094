"""Sigma after training."""

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.sigma import refit_sigma
from pyro_vae.models.elbo import elbo_terms
from tests.support.linear_gaussian import ORTHOGONAL, drawn_images, linear_gaussian_vae


def test_a_refitted_sigma_is_the_root_mean_squared_error_and_beats_every_other():
    vae, exact = linear_gaussian_vae(ORTHOGONAL, sigma=0.3)
    x = drawn_images(vae, 400)
    other, _ = linear_gaussian_vae(ORTHOGONAL, sigma=0.3)
    other.likelihood.sigma.fill_(0.8)  # what it was given, and not what suits
    refitted = refit_sigma(other, x)
    found = refitted.likelihood.sigma.item()
    q = other.encode(x)
    noise = (q.base_dist.variance @ exact.weight.T**2).view_as(x)
    expected = (x - other.outputs(q.mean)).square() + noise
    error = 5 * 0.5 * found * math.sqrt(2 / x.numel())  # five standard errors of a root of a mean
    assert abs(found - expected.mean().sqrt().item()) < error
    at = {s: _elbo_at(refitted, s, x) for s in (found, 0.98 * found, 1.02 * found)}
    assert max(at, key=at.get) == found
    assert other.likelihood.sigma.item() == 0.8
    assert torch.equal(refitted.encode(x).mean, q.mean)


def _elbo_at(vae, sigma, x):
    vae.likelihood.sigma.fill_(sigma)
    return elbo_terms(vae, x).elbo.mean().item()


def test_a_family_without_one_sigma_is_refused():
    vae = pv.VAE((1, 4, 4), 2, "laplace", hidden=(4,))
    with pytest.raises(ValueError, match="expected a Normal with one sigma, got Laplace"):
        refit_sigma(vae.eval(), torch.zeros(2, 1, 4, 4))
