"""The importance bound, where log p(x) is known."""

import math

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.bounds import (
    bits_per_dim,
    decoded_at_once,
    importance_bound,
    log_weights,
    work_per_draw,
)
from pyro_vae.randomness import seeded
from tests.support.linear_gaussian import (
    OBLIQUE,
    ORTHOGONAL,
    assert_within,
    drawn_images,
    linear_gaussian_vae,
)


@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_the_importance_bound_with_5000_samples(oblique):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 20)
    bound = importance_bound(vae, x, 5000, score="density").log_prob
    truth = exact.log_prob(x)
    if not oblique:  # every weight is p(x) itself
        assert (bound - truth).abs().max() < 1e-6
    weights = log_weights(vae, x, vae.encode(x), 5000, "density")
    spread = (weights - weights.logsumexp(0) + math.log(5000)).exp().std(0)
    assert_within(bound, truth, spread / math.sqrt(5000))


def test_work_is_counted_in_multiply_adds():
    """Those of each layer, and 200 for each of eight numbers per pixel."""
    vae = pv.VAE((3, 16, 8), 5, network="conv", hidden=(4, 6))
    layers = 5 * 6 * 4 * 2 + 6 * 4 * 16 * (4 * 2) + 4 * 3 * 16 * (8 * 4)
    assert work_per_draw(vae) == layers + 200 * 8 * 3 * 16 * 8
    assert work_per_draw(vae.double()) == work_per_draw(vae)


def test_the_effective_sample_size_is_that_of_the_weights(monkeypatch):
    """All draws where every weight is p(x) itself; else by its formula, in batches or not."""
    vae, _ = linear_gaussian_vae(ORTHOGONAL)
    x = drawn_images(vae, 5)
    exact = importance_bound(vae, x, 300, score="density").effective_sample_size
    assert torch.allclose(exact, torch.full_like(exact, 300))
    vae, _ = linear_gaussian_vae(spoil=0.3)
    found = importance_bound(vae, x, 300, score="density").effective_sample_size
    with seeded(0):
        weights = log_weights(vae, x, vae.encode(x), 300, "density").softmax(0)
    assert torch.allclose(found, 1 / weights.square().sum(0))
    assert found.max() < 290


def test_the_bound_does_not_depend_on_the_pieces(monkeypatch):
    vae, _ = linear_gaussian_vae(OBLIQUE)
    x = drawn_images(vae, 6)
    whole = importance_bound(vae, x, 700, score="density").log_prob
    monkeypatch.setattr("pyro_vae.evaluation.bounds._NUMBERS_AT_ONCE", 8 * 16 * 130)
    assert decoded_at_once(vae) == 130
    done = []
    pieces = importance_bound(
        vae, x, 700, score="density", progress=lambda *count: done.append(count)
    ).log_prob
    assert done == [(k + 1, 6, "images") for k in range(6)]
    assert (pieces - whole).abs().max() < 0.5  # other draws, the same bound
    assert (pieces - whole).abs().max() > 0


def test_importance_bound_of_exact_levels():
    """Binary 1x1x2 images, enumerated: the bound with many samples is log P, and sums to one."""
    vae = pv.VAE((1, 1, 2), 2, "bernoulli", hidden=(4,), levels=2).double().eval()
    with torch.no_grad():
        vae.decoder[-2].weight.mul_(5)
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 2).view(4, 1, 1, 2)
    nodes, weights = (torch.tensor(v) for v in np.polynomial.hermite_e.hermegauss(60))
    z = torch.cartesian_prod(nodes, nodes).unsqueeze(1)
    w = torch.outer(weights, weights).flatten() / (2 * math.pi)
    with torch.no_grad():
        exact = (vae.decode(z).log_prob(images).exp() * w.unsqueeze(1)).sum(0).log()
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-9)
    bounds = torch.stack([importance_bound(vae, images, 2000, s).log_prob for s in range(20)])
    error = bounds.std(0) / math.sqrt(20)
    assert ((bounds.mean(0) - exact).abs() < 5 * error + 1e-3).all()  # Jensen's gap at K = 2,000
    loose = torch.stack([importance_bound(vae, images, 1, s).log_prob for s in range(200)]).mean(0)
    assert (loose < bounds.mean(0)).all()


@pytest.mark.parametrize("component", [0, 2])
def test_taking_a_component_out_leaves_a_smaller_gaussian(component):
    vae, exact = linear_gaussian_vae(latent_dim=3)
    x = drawn_images(vae, 20)
    weight = exact.weight.clone()
    weight[:, component] = 0
    truth = exact._replace(weight=weight).log_prob(x)
    bound = importance_bound(
        vae, x, 3, score="density", removed=torch.arange(3) == component
    ).log_prob
    assert (bound - truth).abs().max() < 1e-6
    assert (exact.log_prob(x) - truth).mean() > 0.1  # it was of use


def test_scores_that_are_unknown_or_undefined_are_refused():
    vae, _ = linear_gaussian_vae()
    with pytest.raises(ValueError, match="score: unknown name 'level'; did you mean 'levels'"):
        importance_bound(vae, drawn_images(vae, 2), 2, score="level")
    vae = pv.VAE((1, 1, 2), 2, "bernoulli", hidden=(4,), levels=256).eval()
    with pytest.raises(ValueError, match="no probability to 256 grey levels"):
        importance_bound(vae, torch.rand(3, 1, 1, 2), 5)


def test_a_uniform_distribution_over_levels_costs_log2_levels():
    log_p = -torch.full((3,), 28 * 28 * math.log(256))
    assert torch.allclose(bits_per_dim(log_p, (1, 28, 28)), torch.tensor(8.0))
