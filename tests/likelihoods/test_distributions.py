"""Densities of every family are those of torch; shapes."""

import math

import pytest
import torch

from pyro_vae.likelihoods import LIKELIHOODS
from tests.support.families import DENSITIES, FAMILIES, build, grid

STRETCH = 17 / 16  # the interval's length at 17 levels, half a bin beyond 0 and 1 each


def on_interval(p, x):
    """log p of x, p being a distribution on [0, 1]."""
    return p.log_prob((x + 1 / 32) / STRETCH) - math.log(STRETCH)


TORCHS = {  # the same densities by torch, within the range where torch is accurate
    "normal": lambda b, x: torch.distributions.Normal(b.loc, b.scale).log_prob(x),
    "laplace": lambda b, x: torch.distributions.Laplace(b.loc, b.scale).log_prob(x),
    "student_t": lambda b, x: torch.distributions.StudentT(3.0, b.loc, b.scale).log_prob(x),
    "beta": lambda b, x: on_interval(torch.distributions.Beta(b.a, b.b), x),
    "continuous_bernoulli": lambda b, x: on_interval(
        torch.distributions.ContinuousBernoulli(logits=b.logits, lims=(0.49, 0.51)), x
    ),
}


@pytest.mark.parametrize("name", [n for n in DENSITIES if n != "gaussian_optimal_sigma"])
def test_densities_are_torchs(name):
    family = build(name, levels=17)
    base = family.pixels(torch.randn(50, family.channels, 1, 1, dtype=torch.float64))
    x = grid(17).view(-1, 1, 1, 1, 1)
    reference = TORCHS["normal" if name.startswith("gaussian") else name](base, x)
    tolerance = 1e-6 if name == "continuous_bernoulli" else 1e-10  # torch's Taylor series near 0
    assert (base.log_prob(x) - reference).abs().max() < tolerance


def test_the_images_bernoulli_is_torchs():
    logits, x = torch.randn(2, 7, 3, 4, 5, dtype=torch.float64).unbind()
    pixels = torch.distributions.Bernoulli(logits=logits).log_prob((x > 0).double())
    outputs = LIKELIHOODS["bernoulli"]((3, 4, 5), 2)(logits)
    assert torch.allclose(outputs.log_prob((x > 0).double()), pixels.sum((-3, -2, -1)), rtol=1e-12)


@pytest.mark.parametrize("score", ["density", "levels"])
def test_shapes_and_leading_dimensions(score):
    for name in FAMILIES:
        assert_shapes_and_leading_dimensions(name, score)


def assert_shapes_and_leading_dimensions(name, score):
    levels = 2 if name == "bernoulli" else 4
    family = build(name, (3, 4, 5), levels, score)
    p = family(torch.randn(2, 6, family.channels, 4, 5, dtype=torch.float64))
    assert p.batch_shape == (2, 6) and p.event_shape == (3, 4, 5)
    assert p.mean.shape == p.sample().shape == (2, 6, 3, 4, 5)
    assert p.log_prob(p.sample()).shape == (2, 6)
    wide = p.expand((7, 2, 6))
    assert wide.batch_shape == (7, 2, 6) and wide.sample().shape == (7, 2, 6, 3, 4, 5)
    x = p.sample()
    assert torch.allclose(wide.log_prob(x)[3], p.log_prob(x), rtol=1e-12)
