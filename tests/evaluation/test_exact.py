"""Closed forms of linear Gaussian models, against each other and against torch."""

import math

import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation import exact
from pyro_vae.evaluation.exact import (
    LinearGaussian,
    linear_optimum,
    optimal_linear_vae,
    principal_components,
)
from pyro_vae.evaluation.terms import rate_per_component
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.models.elbo import elbo_terms
from tests.support.linear_gaussian import (
    OBLIQUE,
    ORTHOGONAL,
    approximation_gap,
    drawn_images,
    linear_gaussian_vae,
)


@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_the_closed_forms_agree_with_a_full_covariance(oblique):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 5)
    weight, bias = exact.weight, exact.bias
    covariance = weight @ weight.T + exact.sigma**2 * torch.eye(16).double()
    reference = dist.MultivariateNormal(bias, covariance).log_prob(x.flatten(1))
    assert torch.allclose(exact.log_prob(x), reference, rtol=0, atol=1e-9)
    z = torch.randn(3, dtype=torch.float64)
    joint = vae.prior.log_prob(z) + vae.decode(z).log_prob(x)  # Bayes at any z
    assert torch.allclose(joint - exact.posterior(x).log_prob(z), reference, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_the_encoders_gap_is_the_closed_form(oblique):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 40)
    terms = elbo_terms(vae, x, num_samples=1000)
    gap = exact.gap(vae.encode(x).base_dist, x)
    known = approximation_gap(exact)
    assert torch.allclose(gap, torch.full_like(gap, known), rtol=0, atol=1e-9)
    assert (known > 0.1) if oblique else abs(known) < 1e-9
    # One draw's distortion varies by less than 3 nats, hence the tolerance for 1000 x 40 draws.
    error = 3 / math.sqrt(1000 * 40)
    assert (exact.log_prob(x) - terms.elbo - gap).mean().abs() < 5 * error


@pytest.mark.parametrize(
    "options, message",
    [
        ({"network": "mlp", "hidden": (4,)}, "expected a linear decoder with a Normal likelihood"),
        ({"likelihood": "laplace"}, "expected a linear decoder with a Normal likelihood"),
        (
            {"likelihood": "gaussian_image_sigma"},
            "expected one sigma for all pixels|linear decoder",
        ),
    ],
)
def test_what_is_not_linear_and_gaussian_is_refused(options, message):
    with pytest.raises(ValueError, match=f"vae: {message}"):
        LinearGaussian.of(pv.VAE((1, 4, 4), 2, **({"network": "linear"} | options)))


def test_several_sigmas_are_refused(monkeypatch):
    vae, _ = linear_gaussian_vae()
    noise = Normal(torch.zeros(1, 4, 4), torch.arange(1.0, 17).view(1, 4, 4)).to_event(3)
    monkeypatch.setattr(vae, "decode", lambda z: noise)
    with pytest.raises(ValueError, match="expected one sigma"):
        LinearGaussian.of(vae)


# --- the optimum of a linear VAE ------------------------------------------------------------------


@pytest.fixture(scope="module")
def images_of_digits(digits):
    """All 1,797 of them, as the published figures have it."""
    return torch.cat([digits.train.images, digits.test.images])


def test_published_optima_of_the_digits(images_of_digits):
    optimum = linear_optimum(images_of_digits, 8)
    assert optimum.elbo == pytest.approx(14.2098, abs=5e-5)
    assert optimum.sigma == pytest.approx(0.16532, abs=5e-6)
    published = {0.25: (8, 12.408), 1: (8, 6.863), 4: (5, 1.650), 8: (3, 0.341), 30: (0, 0.0)}
    for beta, (active, rate) in published.items():
        optimum = linear_optimum(images_of_digits, 8, beta, 0.25)
        assert optimum.active == active and optimum.rate == pytest.approx(rate, abs=5e-4)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_a_learned_sigma_is_the_best_of_the_fixed_ones(images_of_digits, beta):
    def loss_at(sigma):
        optimum = linear_optimum(images_of_digits, 8, beta, sigma)
        return optimum.distortion + beta * optimum.rate

    learned = linear_optimum(images_of_digits, 8, beta)
    loss = learned.distortion + beta * learned.rate
    assert loss == pytest.approx(loss_at(learned.sigma))
    assert all(loss < loss_at(learned.sigma * factor) for factor in (0.9, 0.99, 1.01, 1.1))


@pytest.mark.parametrize("latent_dim", [61, 100])
def test_a_sigma_that_could_vanish_stays_at_its_floor(images_of_digits, latent_dim):
    """Three pixels of the digits never vary: so many components would explain all there is."""
    optimum = linear_optimum(images_of_digits, latent_dim)
    assert optimum.sigma == 1e-3 and math.isfinite(optimum.elbo)


def test_the_optimal_linear_vae_is_at_the_optimum_and_its_posterior_is_exact(images_of_digits):
    """Its mean log p(x) is the optimum's ELBO, and q has no gap: closed forms, to rounding."""
    images = images_of_digits.double()
    vae, optimum = optimal_linear_vae(images, 8, levels=17), linear_optimum(images, 8)
    model, q = LinearGaussian.of(vae), vae.encode(images).base_dist
    assert model.log_prob(images).mean().item() == pytest.approx(optimum.elbo, abs=1e-9)
    assert rate_per_component(vae, images).mean(0).tolist() == pytest.approx(optimum.rates.tolist())
    assert model.gap(q, images).abs().max() < 1e-9
    wide = type(q)(q.loc, 1.1 * q.scale)
    expected = 8 * (1.1**2 - 1 - 2 * math.log(1.1)) / 2
    assert model.gap(wide, images).mean().item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "images, components, most_exact", [(40, 50, 2048), (1797, 8, 20)], ids=["wide", "random"]
)
def test_components_of_few_or_of_many_images_are_those_of_the_covariance(
    images_of_digits, monkeypatch, images, components, most_exact
):
    """Of fewer images than pixels by their products, and of many large ones in a random subspace.

    Its eight iterations leave errors of (l_25 / l_8)^17, which is under 1e-9 here.
    """
    monkeypatch.setattr(exact, "MOST_EXACT", most_exact)
    x = images_of_digits[:images].double()
    found = principal_components(x, components)
    variances, directions = torch.linalg.eigh(x.flatten(1).T.cov(correction=0))
    expected = variances.flip(0).clamp_min(0)
    assert images < 64 or (expected[24] / expected[7]) ** 17 < 1e-9
    assert torch.allclose(found.variances, expected[:components], rtol=1e-9, atol=1e-12)
    overlaps = (found.directions[:, :8] * directions.flip(1)[:, :8]).sum(0).abs()
    assert (overlaps > 1 - 1e-9).all() and found.total == pytest.approx(expected.sum().item())
    vae = optimal_linear_vae(x, components, levels=17)  # of 40 images, with idle components
    gap = LinearGaussian.of(vae).gap(vae.encode(x).base_dist, x)
    assert gap.abs().max() < 1e-9


def test_sizes_and_betas_out_of_range_are_refused(images_of_digits):
    with pytest.raises(ValueError, match="beta: expected a positive number, got 0"):
        linear_optimum(images_of_digits, 8, 0)
    with pytest.raises(ValueError, match="latent_dim: expected 64 pixels at most, got 65"):
        optimal_linear_vae(images_of_digits, 65)
