"""Measurements on a linear Gaussian VAE, whose log p(x) and posterior are known."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.exact import LinearGaussian, linear_optimum, optimal_linear_vae
from pyro_vae.evaluation.latents import active_units, collapsed_units, rate_per_component
from pyro_vae.models.elbo import elbo_terms

SIGMA, D, K = 0.4, 6, 2


def exact_vae():
    """A linear Gaussian VAE with orthogonal columns and its exact posterior, and log p(x)."""
    vae = pv.VAE(
        (1, 2, 3), K, "gaussian_fixed_sigma", network="linear", hidden=(), sigma=SIGMA
    ).double()
    loadings = torch.linalg.qr(torch.randn(D, K, dtype=torch.float64))[0] * torch.tensor([1.0, 0.5])
    offset = torch.rand(D, dtype=torch.float64)
    precision = 1 + (loadings**2).sum(0) / SIGMA**2
    with torch.no_grad():
        vae.decoder[0].weight.copy_(loadings)
        vae.decoder[0].bias.copy_(offset)
        weight = loadings.T / SIGMA**2 / precision.unsqueeze(1)
        vae.encoder[1].weight.copy_(torch.cat([weight, torch.zeros(K, D)]))
        vae.encoder[1].bias.copy_(torch.cat([-weight @ offset, -precision.log() / 2]))
    covariance = loadings @ loadings.T + SIGMA**2 * torch.eye(D, dtype=torch.float64)
    p = MultivariateNormal(offset, covariance)
    return vae.eval(), p, p.sample((5,)).view(5, 1, 2, 3)


def test_the_elbo_of_an_exact_posterior_is_log_p():
    """Per image within 5 standard errors of 4,000 draws."""
    vae, p, x = exact_vae()
    terms = elbo_terms(vae, x, 4000)
    draws = torch.stack([elbo_terms(vae, x, 1, seed=s).elbo for s in range(100)])
    error = draws.std(0) / math.sqrt(4000)
    assert ((terms.elbo - p.log_prob(x.flatten(1))).abs() < 5 * error).all()
    assert torch.allclose(terms.rate, rate_per_component(vae, x).sum(-1))


def test_elbo_terms_repeat_with_the_seed_and_leave_the_callers_draws_alone():
    vae, _, x = exact_vae()
    state = torch.get_rng_state()
    first = elbo_terms(vae, x, seed=1)
    assert torch.equal(first.elbo, elbo_terms(vae, x, seed=1).elbo)
    assert not torch.equal(first.elbo, elbo_terms(vae, x, seed=2).elbo)
    assert torch.equal(state, torch.get_rng_state())


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
    bounds = torch.stack([importance_bound(vae, images, 2000, seed=s) for s in range(20)])
    error = bounds.std(0) / math.sqrt(20)
    assert ((bounds.mean(0) - exact).abs() < 5 * error + 1e-3).all()  # Jensen's gap at K = 2,000
    loose = torch.stack([importance_bound(vae, images, 1, seed=s) for s in range(200)]).mean(0)
    assert (loose < bounds.mean(0)).all()


def test_importance_bound_refuses_what_is_no_likelihood():
    vae = pv.VAE((1, 1, 2), 2, "bernoulli", hidden=(4,), levels=256).eval()
    with pytest.raises(ValueError, match="no probability to 256 grey levels"):
        importance_bound(vae, torch.rand(3, 1, 1, 2), 5)


def test_a_uniform_distribution_over_levels_costs_log2_levels():
    log_p = -torch.full((3,), 28 * 28 * math.log(256))
    assert torch.allclose(bits_per_dim(log_p, (1, 28, 28)), torch.tensor(8.0))


def test_units_that_carry_nothing_are_collapsed_and_inactive():
    vae, _, x = exact_vae()
    with torch.no_grad():
        vae.encoder[1].weight[0].zero_()
        vae.encoder[1].bias[0] = 0  # loc 0 ...
        vae.encoder[1].bias[K] = 0  # ... and scale 1: the prior
    assert collapsed_units(rate_per_component(vae, x)) == 1
    assert active_units(vae, x) == 1
    assert torch.isnan(rate_per_component(pv.Autoencoder((1, 2, 3), 2), x.float())).all()


# --- closed forms ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    data = pv.load_dataset("digits")
    return torch.cat([data.train.images, data.test.images])


def test_published_optima_of_the_digits(digits):
    optimum = linear_optimum(digits, 8)
    assert optimum.elbo == pytest.approx(14.2098, abs=5e-5)
    assert optimum.sigma == pytest.approx(0.16532, abs=5e-6)
    published = {0.25: (8, 12.408), 1: (8, 6.863), 4: (5, 1.650), 8: (3, 0.341), 30: (0, 0.0)}
    for beta, (active, rate) in published.items():
        optimum = linear_optimum(digits, 8, beta, 0.25)
        assert optimum.active == active and optimum.rate == pytest.approx(rate, abs=5e-4)


def test_the_optimum_at_beta_one_is_the_gaussian_likelihood(digits):
    """Against torch's MultivariateNormal with the PPCA covariance, on the pixels that vary."""
    x = digits.flatten(1).double()
    optimum = linear_optimum(digits, 8)
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    values = torch.cat([torch.full((56,), optimum.sigma**2, dtype=torch.float64), values[56:]])
    p = MultivariateNormal(x.mean(0), vectors @ values.diag() @ vectors.T)
    assert p.log_prob(x).mean().item() == pytest.approx(optimum.elbo, abs=1e-6)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_a_learned_sigma_is_the_best_of_the_fixed_ones(digits, beta):
    loss = lambda o: o.distortion + beta * o.rate  # noqa: E731
    learned = linear_optimum(digits, 8, beta)
    fixed = [
        loss(linear_optimum(digits, 8, beta, learned.sigma * s)) for s in (0.9, 0.99, 1.01, 1.1)
    ]
    assert loss(learned) == pytest.approx(loss(linear_optimum(digits, 8, beta, learned.sigma)))
    assert all(loss(learned) < other for other in fixed)


@pytest.mark.parametrize("latent_dim", [61, 63, 64, 100])
def test_a_sigma_that_could_vanish_stays_at_its_floor(digits, latent_dim):
    """Three pixels of the digits never vary: so many components would explain all there is."""
    optimum = linear_optimum(digits, latent_dim)
    assert optimum.sigma == 1e-3 and math.isfinite(optimum.elbo)


def test_beta_must_be_positive(digits):
    with pytest.raises(ValueError, match="beta: expected a positive number, got 0"):
        linear_optimum(digits, 8, 0)


def test_the_optimal_linear_vae_is_at_the_optimum_and_its_posterior_is_exact(digits):
    """Its mean log p(x) is the optimum's ELBO, and q has no gap: closed forms, to rounding."""
    images = digits.double().view(-1, 1, 8, 8)
    vae, optimum = optimal_linear_vae(images, 8, levels=17), linear_optimum(images, 8)
    model, q = LinearGaussian.of(vae), vae.encode(images).base_dist
    assert model.log_prob(images).mean().item() == pytest.approx(optimum.elbo, abs=1e-9)
    assert rate_per_component(vae, images).mean(0).tolist() == pytest.approx(optimum.rates.tolist())
    assert model.gap(q, images).abs().max() < 1e-9
    wide = type(q)(q.loc, 1.1 * q.scale)
    expected = 8 * (1.1**2 - 1 - 2 * math.log(1.1)) / 2
    assert model.gap(wide, images).mean().item() == pytest.approx(expected)


def test_the_optimal_linear_vae_has_no_more_components_than_pixels(digits):
    with pytest.raises(ValueError, match="latent_dim: expected 64 pixels at most, got 65"):
        optimal_linear_vae(digits.view(-1, 1, 8, 8), 65)
