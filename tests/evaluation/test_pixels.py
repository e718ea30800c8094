"""The decoder's pixels: calibration on images drawn from their codes."""

import math

import pytest
import torch
from scipy import stats

import pyro_vae as pv
from pyro_vae.evaluation.predictive import pixel_calibration
from tests.support.linear_gaussian import ACCEPTED, REJECTED


def drawn(name, levels=17, count=60):
    """A model with weights of chance, codes, and images drawn from them."""
    torch.manual_seed(0)
    vae = pv.VAE((2, 5, 5), 2, name, hidden=(8,), levels=2 if name == "bernoulli" else levels)
    z = 2 * torch.randn(count, 2)
    return vae.eval(), vae.eval().images(z, draw=True), z


@pytest.mark.parametrize("name", pv.LIKELIHOODS)
def test_images_drawn_from_their_codes_are_calibrated(name):
    vae, x, z = drawn(name)
    found = pixel_calibration(vae, x, z)
    assert stats.kstest(found.transforms.flatten(), "uniform").pvalue > ACCEPTED
    for level, share in found.coverage.items():
        assert abs(share.mean - level) < 5 * math.sqrt(level * (1 - level) / x.numel())
    shares = found.shares(10)
    assert shares.shape == (60, 10) and torch.allclose(shares.sum(1), torch.ones(60).double())


@pytest.mark.slow
@pytest.mark.parametrize("factor, side", [(2.0, 1), (0.5, -1)])
def test_a_decoder_that_is_not_sure_enough_or_too_sure_is_found(factor, side):
    vae, x, z = drawn("gaussian_shared_sigma", levels=256)
    with torch.no_grad():
        vae.likelihood.raw_scale += math.log(factor)
    found = pixel_calibration(vae, x, z)
    assert stats.kstest(found.transforms.flatten(), "uniform").pvalue < REJECTED
    assert side * (found.coverage[0.5].mean - 0.5) > 0.1


def test_the_draws_repeat_with_the_seed():
    vae, x, z = drawn("laplace")
    first, again, other = (pixel_calibration(vae, x, z, s).transforms for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_what_is_no_likelihood_is_refused():
    vae = pv.VAE((1, 4, 4), 2, "bernoulli", hidden=(4,), levels=256).eval()
    with pytest.raises(ValueError, match="no probability to 256 grey levels"):
        pixel_calibration(vae, torch.zeros(2, 1, 4, 4), torch.zeros(2, 2))
