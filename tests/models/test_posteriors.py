"""Posteriors against closed forms, quadrature and the stock engines."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

import pyro_vae as pv
from pyro_vae.evaluation.bounds import log_weights
from pyro_vae.evaluation.exact import LinearGaussian
from pyro_vae.models.elbo import component_rates, elbo_terms, rate_of
from pyro_vae.models.posteriors import POSTERIORS, bounded_log_scale
from tests.support.linear_gaussian import drawn_images, linear_gaussian_vae, linear_layers


def posterior_of(name, latent_dim=2, seed=0):
    """A posterior in float64 with outputs of some images, which are far from a Normal's."""
    torch.manual_seed(seed)
    posterior = POSTERIORS[name](latent_dim).double()
    return posterior, 0.2 * torch.randn(3, posterior.num_outputs, dtype=torch.float64)


def grid_of(reach=9.0, count=181):
    """Points of a square, and the area of each."""
    axis = torch.linspace(-reach, reach, count, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).unsqueeze(2)
    return points, (2 * reach / (count - 1)) ** 2


def test_a_log_scale_is_the_output_itself_up_to_its_bounds():
    raw = torch.linspace(-9, 9, 4001, requires_grad=True)
    bounded = bounded_log_scale(raw)
    assert torch.equal(bounded, raw)
    (slope,) = torch.autograd.grad(bounded.sum(), raw)
    assert torch.equal(slope, torch.ones_like(slope))
    far = torch.tensor([-1e3, -10.0, 10.0, 1e3], requires_grad=True)
    beyond = bounded_log_scale(far)
    (slope,) = torch.autograd.grad(beyond.sum(), far)
    assert (beyond.abs() < 10).all() and (beyond.sign() == far.sign()).all() and (slope > 0).all()


def test_a_full_covariance_is_the_posterior_of_a_linear_model():
    """Every draw then has the weight log p(x): the ELBO is the evidence, with no gap."""
    diagonal, exact = linear_gaussian_vae(oblique=True)
    vae = pv.VAE((1, 4, 4), 3, "gaussian_fixed_sigma", "linear", sigma=0.5, posterior="full_normal")
    vae = vae.double().eval()
    factor = torch.linalg.cholesky(torch.linalg.inv(exact.precision))
    scale = factor.diagonal()
    unit = factor / scale.unsqueeze(-1)
    constants = [scale.log(), unit[*torch.tril_indices(3, 3, -1)]]
    with torch.no_grad():
        (known, decoder), (encoder, own) = linear_layers(diagonal), linear_layers(vae)
        own.load_state_dict(decoder.state_dict())
        encoder.weight.zero_()
        encoder.weight[:3] = known.weight[:3]
        encoder.bias.copy_(torch.cat([known.bias[:3], *constants]))
    x = drawn_images(vae, 40)
    truth = LinearGaussian.of(vae).log_prob(x)
    with torch.no_grad():
        weights = log_weights(vae, x, vae.encode(x), 8, "density")
    assert torch.allclose(weights, truth.expand(8, -1), atol=1e-9)
    terms = elbo_terms(vae, x, 400)
    assert (terms.elbo - truth).abs().max() < 0.5  # the distortion is an average of draws


def test_the_rate_of_a_full_covariance_is_that_of_two_full_normals():
    posterior, outputs = posterior_of("full_normal", 4)
    q = posterior(outputs)
    loc, scale = torch.randn(4).double(), torch.rand(4).double() + 0.1
    p = dist.Normal(loc, scale).to_event(1)
    full = dist.MultivariateNormal(loc, scale_tril=torch.diag(scale))
    assert torch.allclose(kl_divergence(q, p), kl_divergence(q, full), atol=1e-10)
    marginals = dist.Normal(q.loc, q.stddev)
    assert torch.allclose(component_rates(q, p), kl_divergence(marginals, p.base_dist))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal", "full_normal", "flow"])
def test_a_density_integrates_to_one_with_the_moments_of_its_draws(name):
    """Over a grid in two dimensions; a smooth density that vanishes at the edge has no error of it."""
    posterior, outputs = posterior_of(name)
    q, (grid, area) = posterior(outputs), grid_of()
    with torch.no_grad():
        mass = q.log_prob(grid).exp() * area
        z = q.rsample((40_000,))
    tolerance = 5e-3 if name == "flow" else 1e-6  # a spline's second derivative has steps
    assert (mass.sum((0, 1)) - 1).abs().max() < tolerance
    mean = (mass.unsqueeze(-1) * grid).sum((0, 1))
    error = z.std(0) / math.sqrt(len(z))
    assert ((z.mean(0) - mean).abs() < 5 * error + tolerance).all()
    second = (mass.unsqueeze(-1) * grid.square()).sum((0, 1))
    error = z.square().std(0) / math.sqrt(len(z))
    assert ((z.square().mean(0) - second).abs() < 5 * error + 10 * tolerance).all()


@pytest.mark.slow
def test_the_moments_of_a_flow_are_near_those_of_many_draws():
    posterior, outputs = posterior_of("flow")
    q = posterior(outputs)
    with torch.no_grad():
        z = q.rsample((40_000,))
        state = torch.get_rng_state()
        apart = (q.mean - z.mean(0)).abs() / z.std(0)
        assert torch.equal(q.mean, q.mean) and torch.equal(torch.get_rng_state(), state)
    assert apart.max() < 5 / math.sqrt(256)
    assert (q.stddev / z.std(0) - 1).abs().max() < 5 / math.sqrt(2 * 256)


@pytest.mark.slow
def test_a_rate_without_a_closed_form_is_drawn():
    """Of a flow to the standard Normal, against its integral over a grid."""
    posterior, outputs = posterior_of("flow")
    q = posterior(outputs)
    p = dist.Normal(torch.zeros(2).double(), 1.0).to_event(1)
    grid, area = grid_of()
    with torch.no_grad():
        log_q = q.log_prob(grid)
        truth = (log_q.exp() * (log_q - p.log_prob(grid))).sum((0, 1)) * area
        drawn = rate_of(q, p, q.rsample((20_000,)))
    assert component_rates(q, p) is None
    assert ((drawn.mean(0) - truth).abs() < 5 * drawn.std(0) / math.sqrt(20_000) + 5e-3).all()
