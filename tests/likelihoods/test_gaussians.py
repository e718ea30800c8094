"""Sigmas of the Normal families, and the sigma under which images are most likely."""

import math

import pytest
import torch

from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.likelihoods.base import bounded_scale
from pyro_vae.likelihoods.distributions import Normal, half_bin
from pyro_vae.likelihoods.gaussians import (
    BOUNDS,
    MANY,
    count_residuals,
    most_likely_sigma,
    profiled_sigma,
)
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


@pytest.mark.parametrize("off, sigma", [(0.02, 0.02), (1e-4, BOUNDS[0])])
def test_the_optimal_sigma_of_a_close_fit_is_its_error_down_to_the_floor(off, sigma):
    family = LIKELIHOODS["gaussian_optimal_sigma"]((1, 3, 3), 256).double()
    loc = torch.rand(4, 1, 3, 3, dtype=torch.float64)
    found = family.train()(loc).log_prob(loc + off)
    assert torch.allclose(
        found, Normal(loc, torch.tensor(sigma)).log_prob(loc + off).sum((1, 2, 3))
    )


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma: expected a positive number"):
        LIKELIHOODS["gaussian_fixed_sigma"](PIXEL, sigma=sigma)


def test_an_image_or_a_pixel_has_a_sigma_of_its_own():
    """That of an image has a logarithm that is the mean over its pixels."""
    family = LIKELIHOODS["gaussian_image_sigma"]((2, 3, 4))
    outputs = torch.randn(5, 3, 3, 4)
    pixels = family.pixels(outputs)
    assert torch.equal(pixels.loc, outputs[:, :2])
    expected = bounded_scale(outputs[:, 2].mean((1, 2)))
    assert torch.allclose(pixels.scale, expected.view(5, 1, 1, 1).expand(5, 2, 3, 4))
    family = LIKELIHOODS["gaussian_pixel_sigma"]((2, 3, 4))
    outputs = torch.randn(5, 4, 3, 4)
    pixels = family.pixels(outputs)
    assert torch.equal(pixels.loc, outputs[:, :2])
    assert torch.equal(pixels.scale, bounded_scale(outputs[:, 2:]))


# --- the most likely sigma ------------------------------------------------------------------------

SHAPE = (1, 14, 14)


def images(levels, sigma, low=-0.3, high=1.3, count=30, dtype=torch.float64):
    """Grey levels of Normals, many of them black or white, and the Normals' means."""
    torch.manual_seed(0)
    loc = low + (high - low) * torch.rand(count, *SHAPE, dtype=dtype)
    x = (loc + sigma * torch.randn_like(loc)).clamp(0, 1)
    return (x * (levels - 1)).round() / (levels - 1), loc


def log_prob(x, loc, levels, sigma):
    return Normal(loc, torch.as_tensor(sigma)).log_bin_prob(x, half_bin(levels)).sum().item()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_no_sigma_of_a_grid_makes_the_levels_more_likely(levels, sigma, dtype):
    x, loc = images(levels, sigma, dtype=dtype)
    family = LIKELIHOODS["gaussian_optimal_sigma"](SHAPE, levels, "levels").to(dtype).train()
    profiled = family(loc).log_prob(x).sum().item()
    far, near = torch.linspace(0.2, 5, 20), torch.linspace(0.8, 1.25, 60)
    grid = (sigma * torch.cat([far, near])).tolist()
    best = max(log_prob(x.double(), loc.double(), levels, s) for s in grid)
    resolution = 1e-4 * x.numel()  # nats: between two points of the grid
    assert best - 1e-6 * abs(best) < profiled < best + resolution
    rmse = (x - loc).square().mean().sqrt().item()
    assert log_prob(x, loc, levels, rmse) < profiled - resolution or rmse == pytest.approx(
        sigma, rel=0.02
    )


@pytest.mark.parametrize("levels", [2, 256])
def test_the_gradient_is_that_of_the_maximum(levels):
    """Sigma is detached; the derivative of the maximum is the partial one (the envelope theorem)."""
    x, loc = images(levels, 0.2, count=2)
    family = LIKELIHOODS["gaussian_optimal_sigma"](SHAPE, levels, "levels").double().train()
    given = loc.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(family(given).log_prob(x).sum(), given)
    way = torch.randn_like(loc)
    up, down = (family(loc + step * way).log_prob(x).sum() for step in (1e-4, -1e-4))
    assert (gradient * way).sum().item() == pytest.approx(((up - down) / 2e-4).item(), rel=1e-4)


def test_calibration_takes_the_maximiser_over_the_training_set():
    x, loc = images(256, 0.3)
    family = LIKELIHOODS["gaussian_optimal_sigma"](SHAPE, 256, "levels")
    family.calibrate([(x[:7], loc[:7]), (x[7:], loc[7:])])
    exact = most_likely_sigma(x, loc, half_bin(256), BOUNDS, steps=30).item()
    assert family.sigma.item() == pytest.approx(exact, rel=1e-4)
    rmse = (x - loc).square().mean().sqrt().item()
    assert abs(rmse / exact - 1) > 0.1, "a case in which it matters"
    family.eval()
    assert family(loc).log_prob(x).sum().item() == pytest.approx(
        log_prob(x, loc, 256, family.sigma.double())
    )


@pytest.mark.parametrize("sigma, error", [(0.002, 1e-3), (0.02, 5e-5), (0.5, 5e-5)])
def test_a_table_gives_the_maximiser_for_a_batch(sigma, error):
    """A sigma of eight cells has a variance that their width changes by a thousandth."""
    x, loc = images(256, sigma, count=200, dtype=torch.float32)
    assert x.numel() >= MANY
    found = profiled_sigma(x, loc, half_bin(256), *BOUNDS).item()
    exact = most_likely_sigma(x.double(), loc.double(), half_bin(256), BOUNDS).item()
    assert found == pytest.approx(exact, rel=error)


def test_levels_without_a_maximum_get_a_sigma_that_is_as_good():
    x = torch.zeros(5, *SHAPE)
    small = most_likely_sigma(x, x - 1, half_bin(256), BOUNDS)  # 0 is likeliest for the smallest
    assert log_prob(x, x - 1, 256, small) > -1e-6
    large = most_likely_sigma(x, x + 3, half_bin(256), BOUNDS, steps=20)
    assert large.item() == pytest.approx(BOUNDS[1])


def test_a_table_counts_each_residual_once():
    x, loc = images(17, 0.2, count=6)
    counts = count_residuals([(x[:1], loc[:1]), (x[1:], loc[1:])], 17)
    assert counts.sum() == x.numel()
    assert counts.sum(1).tolist() == [
        ((x > 0) & (x < 1)).sum(),
        (x == 0).sum(),
        (x == 1).sum(),
    ]
