"""Distributions of images with missing pixels, against sums over all values of those pixels."""

import itertools

import pyro.distributions as dist
import pytest
import torch

from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.likelihoods.missing import MissingPixels
from tests.support.families import FAMILIES, build, outputs_for

SHAPE = (2, 1, 2)  # two channels of two pixels


def distribution(name, levels, score):
    """The images that a decoder gives for two codes, of which nothing is extreme."""
    family = build(name, SHAPE, levels, score)
    return family(torch.randn(2, family.channels, 1, 2, dtype=torch.float64))


def every_image(levels):
    """All images of so many grey levels, (levels ** 4, 1, C, H, W)."""
    rows = list(itertools.product(range(levels), repeat=4))
    return torch.tensor(rows).double().view(-1, 1, *SHAPE) / (levels - 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_missing_pixels_are_summed_out(name):
    """P of what is observed, for any pixels and channels: rounding, and the quadrature of `beta`."""
    levels = 2 if name == "bernoulli" else 3
    p, images = distribution(name, levels, "levels"), every_image(levels)
    of_all = p.log_prob(images)
    for missing in itertools.product([False, True], repeat=4):
        x = images[17 % len(images)].clone()
        x[:, torch.tensor(missing).view(SHAPE)] = torch.nan
        agree = ((images == x) | x.isnan()).flatten(1).all(1)
        found = MissingPixels(p).log_prob(x)
        apart = (found - of_all[agree].logsumexp(0)).abs().max()
        assert apart < (1e-7 if name == "beta" else 1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_changes_where_no_pixel_is_missing(name):
    """Rounding; of draws (2, 3) for each code as well."""
    p = distribution(name, 2, "density")
    x = torch.randint(2, (3, 2, *SHAPE)).double()
    both = MissingPixels(p)
    assert (both.log_prob(x) - p.log_prob(x)).abs().max() < 1e-10
    assert both.event_shape == p.event_shape and both.batch_shape == p.batch_shape
    assert torch.equal(both.mean, p.mean)
    assert both.expand((3, 2)).log_prob(x).shape == (3, 2)
    assert both.sample((5,)).shape == (5, 2, *SHAPE)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_finite_at_extreme_outputs(name):
    family = LIKELIHOODS[name](SHAPE, 2, "density").eval()
    outputs = outputs_for(family, dtype=torch.float32).expand(-1, -1, 1, 2).requires_grad_()
    x = torch.tensor([1.0, torch.nan, torch.nan, 0.0]).view(SHAPE)
    MissingPixels(family(outputs)).log_prob(x).sum().backward()


def test_pixels_that_depend_on_each_other_are_refused():
    scale = torch.eye(4) + 0.5
    p = dist.TransformedDistribution(
        dist.MultivariateNormal(torch.zeros(4), scale),
        [dist.transforms.ReshapeTransform((4,), SHAPE)],
    )
    with pytest.raises(
        ValueError, match="likelihood: pixels can be missing where they are indepen"
    ):
        MissingPixels(p)
