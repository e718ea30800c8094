"""Sigma refitted after training."""

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.randomness import seeded
from refitting import refit_sigma
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
    elbos = {}
    for sigma in (found, 0.98 * found, 1.02 * found):
        refitted.likelihood.sigma.fill_(sigma)
        elbos[sigma] = elbo_terms(refitted, x).elbo.mean().item()
    assert max(elbos, key=elbos.get) == found
    assert other.likelihood.sigma.item() == 0.8
    assert torch.equal(refitted.encode(x).mean, q.mean)


def test_a_sigma_refitted_by_levels_has_the_fewest_bits_of_a_grid():
    """Most pixels are black: the root mean squared error of the same networks costs more bits."""
    torch.manual_seed(0)
    vae = pv.VAE((1, 6, 6), 2, "gaussian_shared_sigma", hidden=(8,)).eval()
    x = (torch.randn(300, 1, 6, 6) - 1).mul(0.3).clamp(0, 1).mul(255).round() / 255
    by_levels, by_density = (refit_sigma(vae, x, score=score) for score in ("levels", "density"))

    def log_prob(sigma):
        by_levels.likelihood.sigma.fill_(sigma)
        with torch.no_grad(), seeded(0):  # the draws that sigma was fitted to
            return by_levels.decode_levels(vae.encode(x).sample()).log_prob(x).mean().item()

    found, rmse = by_levels.likelihood.sigma.item(), by_density.likelihood.sigma.item()
    assert by_levels.likelihood.score == "levels" and by_density.likelihood.score == "density"
    assert log_prob(found) > log_prob(rmse) + 1
    assert log_prob(found) > max(log_prob(found * factor) for factor in (0.9, 1.1))


def test_a_family_without_one_sigma_is_refused():
    vae = pv.VAE((1, 4, 4), 2, "laplace", hidden=(4,))
    with pytest.raises(ValueError, match="expected a Normal with one sigma, got Laplace"):
        refit_sigma(vae.eval(), torch.zeros(2, 1, 4, 4))
