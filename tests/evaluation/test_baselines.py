"""Trivial models of the training images, against probabilities that are known."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vae.evaluation import baselines
from pyro_vae.evaluation.baselines import independent_pixels, one_gaussian, ppca
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.exact import LinearGaussian, linear_vae, optimal_linear_vae
from tests.support.linear_gaussian import correlated


def every_image(levels, pixels):
    """All images of so many pixels, (levels^pixels, 1, 1, pixels)."""
    grid = [v / (levels - 1) for v in range(levels)]
    return torch.tensor(list(itertools.product(grid, repeat=pixels))).view(-1, 1, 1, pixels)


def test_independent_pixels_are_shares_with_one_added():
    train = torch.tensor([[0.0, 1.0], [0.0, 0.5], [0.5, 0.5]]).view(3, 1, 1, 2)
    found = independent_pixels(torch.tensor([[0.0, 0.0], [0.5, 0.5]]).view(2, 1, 1, 2), train, 3)
    expected = [math.log(3 / 6 * 1 / 6), math.log(2 / 6 * 3 / 6)]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_probabilities_of_all_images_add_up_to_1(levels):
    torch.manual_seed(0)
    train = torch.randint(levels, (40, 1, 1, 3)) / (levels - 1)
    train[:, 0, 0, 0] = 0  # a pixel that never varies
    images = every_image(levels, 3)
    assert independent_pixels(images, train, levels).exp().sum().item() == pytest.approx(1)
    assert one_gaussian(images, train, levels)[0].exp().sum().item() == pytest.approx(1)


def test_one_gaussian_is_the_density_times_the_bins_where_they_are_narrow():
    train, images = correlated(2000, 4096), correlated(100, 4096, seed=1)
    found, variance = one_gaussian(images, train, 4096)
    rows = train.flatten(1)
    covariance = rows.T.cov(correction=0) + variance * torch.eye(4)
    exact = MultivariateNormal(rows.mean(0), covariance).log_prob(images.flatten(1))
    assert torch.allclose(found, exact - 4 * math.log(4095), atol=1e-3)
    assert found.mean() > independent_pixels(images, train, 4096).mean() + 1


def test_few_images_add_more_to_the_diagonal():
    """With fewer images than pixels the covariance is singular: held-out images want noise."""
    few = torch.rand(20, 1, 6, 6).mul(255).round() / 255
    _, variance = one_gaussian(few, few, 256)
    assert variance > 100 * (1 / 255) ** 2 / 12


def test_ppca_is_its_closed_form_where_bins_are_narrow():
    train, images = correlated(2000, 4096), correlated(100, 4096, seed=1)
    found = ppca(images, train, 4096, latent_dim=1, num_samples=50)
    exact = LinearGaussian.of(optimal_linear_vae(train, 1)).log_prob(images)
    assert torch.allclose(found, exact - 4 * math.log(4095), atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [2, 8])
def test_ppca_has_the_sigma_that_makes_grey_levels_likeliest(digits, latent_dim):
    """On the digits it is 1.5 to 1.7 times that of the density, at which 8 components need 2.65 bits."""
    train = digits.train.images
    found = ppca(train, train, 17, latent_dim, 16).mean()
    weight, mean, sigma = LinearGaussian.of(optimal_linear_vae(train, latent_dim, 17))
    negligible = 0.0005 * 64 * math.log(2)  # bits per dimension
    for factor in (0.8, 1, 1.2, 1.4, 1.5, 1.6, 1.7, 1.8, 2):
        other = importance_bound(linear_vae(weight, mean, factor * sigma, train, 17), train, 16)
        assert found > other.log_prob.mean() - negligible


def test_one_gaussian_of_many_pixels_has_independent_blocks(monkeypatch):
    """Blocks that are copies of each other are twice as far from 0, with the same variance added."""
    halves = correlated(500, 16)[..., :1, :], correlated(50, 16, seed=1)[..., :1, :]
    train, images = (torch.cat([half, half], 2) for half in halves)
    monkeypatch.setattr(baselines, "BLOCK", 2)
    alone, variance = one_gaussian(halves[1], halves[0], 16)
    found, same = one_gaussian(images, train, 16)
    assert torch.allclose(found, 2 * alone) and same == variance


def test_no_step_of_large_images_takes_long(monkeypatch):
    """Of 64x64 colours, whose whole covariance would be factored for minutes without hearing a signal."""

    def note(covariance):
        raise InterruptedError(f"{len(covariance)} pixels")

    monkeypatch.setattr(torch.linalg, "cholesky", note)
    images = torch.rand(3, 3, 64, 64)
    with pytest.raises(InterruptedError, match=r"^2048 pixels$"):
        one_gaussian(images, images, 256)


@pytest.mark.parametrize("function", [independent_pixels, one_gaussian])
def test_what_would_take_too_long_is_refused_before_it_starts(function):
    huge = torch.zeros(()).expand(2, 3, 256, 256)
    with pytest.raises(
        ValueError, match=r"^images: expected at most [\d,]+ pixels .*, got [\d,]+$"
    ):
        function(huge, huge, 256)


def test_binary_images():
    """Of two equal pixels, one Gaussian knows the second from the first."""
    first = torch.bernoulli(torch.full((500, 1), 0.5))
    train = torch.cat([first, first, torch.bernoulli(torch.full((500, 2), 0.5))], 1)
    train = train.view(500, 1, 2, 2)
    alone, together = independent_pixels(train, train, 2), one_gaussian(train, train, 2)[0]
    assert alone.mean().item() == pytest.approx(-4 * math.log(2), abs=0.02)
    assert together.mean() > alone.mean() + 0.5


class Copies(TorchDispatchMode):
    """Collects the places of tensors in double precision that hold at least so many numbers."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers, self.places = numbers, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        double = isinstance(found, torch.Tensor) and found.dtype == torch.float64
        if double and found.untyped_storage().nbytes() >= 8 * self.numbers:
            self.places.add(found.untyped_storage().data_ptr())
        return found


def test_no_baseline_copies_the_training_images_twice(monkeypatch):
    """In double precision they are twice as large, and what the measures take comes on top."""
    monkeypatch.setattr(baselines, "BLOCK", 16)
    monkeypatch.setattr("pyro_vae.devices.PIECE", 2**12)
    train = torch.randint(16, (3000, 3, 6, 6)) / 15
    with Copies(train.numel()) as whole:
        one_gaussian(train[:9], train, 16)
    assert len(whole.places) == 0
    with Copies(train.numel()) as whole:
        ppca(train[:9], train, 16, latent_dim=2, num_samples=2)
    assert len(whole.places) == 1
