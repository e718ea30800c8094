"""Sigmas of the Normal families."""

import math

import pytest
import torch

from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.likelihoods.base import bounded_scale
from tests.support.families import PIXEL


def test_optimal_sigma_profiles_while_training_and_is_frozen_after():
    """No other sigma gives the batch a larger likelihood; the buffer takes the training set's RMSE."""
    family = LIKELIHOODS["gaussian_optimal_sigma"]((1, 3, 3), 256).double()
    x, loc = torch.rand(2, 10, 1, 3, 3, dtype=torch.float64).unbind()
    fixed = LIKELIHOODS["gaussian_fixed_sigma"]
    others = [
        fixed((1, 3, 3), sigma=s)(loc).log_prob(x).sum()
        for s in torch.linspace(0.05, 1, 400).tolist()
    ]
    profiled = family.train()(loc).log_prob(x).sum()
    assert profiled > max(others) and profiled - max(others) < 0.01  # the grid's resolution
    family.calibrate([(x[:4], loc[:4]), (x[4:], loc[4:])])
    rmse = (x - loc).square().mean().sqrt()
    assert family.sigma.item() == pytest.approx(rmse.item(), rel=1e-12)
    assert torch.allclose(family.eval()(loc).log_prob(x).sum(), profiled)
    one = family(loc[:1]).log_prob(x[:1])
    assert torch.allclose(family(loc).log_prob(x)[:1], one)  # an image's own density, whatever else


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma: expected a positive number"):
        LIKELIHOODS["gaussian_fixed_sigma"](PIXEL, sigma=sigma)


def test_an_image_has_one_sigma_whose_logarithm_is_a_mean_over_its_pixels():
    family = LIKELIHOODS["gaussian_image_sigma"]((2, 3, 4))
    outputs = torch.randn(5, 3, 3, 4)
    pixels = family.pixels(outputs)
    assert torch.equal(pixels.loc, outputs[:, :2])
    expected = bounded_scale(outputs[:, 2].mean((1, 2)))
    assert torch.allclose(pixels.scale, expected.view(5, 1, 1, 1).expand(5, 2, 3, 4))


def test_a_pixel_has_a_sigma_of_its_own():
    family = LIKELIHOODS["gaussian_pixel_sigma"]((2, 3, 4))
    outputs = torch.randn(5, 4, 3, 4)
    pixels = family.pixels(outputs)
    assert torch.equal(pixels.loc, outputs[:, :2])
    assert torch.equal(pixels.scale, bounded_scale(outputs[:, 2:]))
