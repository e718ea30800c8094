"""The terms of the ELBO, where the posterior is known."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pyro_vae.models.elbo import elbo_terms
from pyro_vae.randomness import seeded
from tests.support.linear_gaussian import drawn_images, linear_gaussian_vae
from tests.support.programs import images, model


@pytest.mark.slow
def test_the_elbo_of_an_exact_posterior_is_log_p():
    """Per image within 5 standard errors of 4,000 draws."""
    vae, exact = linear_gaussian_vae()
    x = drawn_images(vae, 5)
    terms = elbo_terms(vae, x, 4000)
    draws = torch.stack([elbo_terms(vae, x, 1, seed=s).elbo for s in range(100)])
    error = draws.std(0) / math.sqrt(4000)
    assert ((terms.elbo - exact.log_prob(x)).abs() < 5 * error).all()
    assert error.max() < 0.1  # else the above could not fail


def test_the_rate_is_torchs_kl_divergence():
    vae, _ = linear_gaussian_vae(spoil=0.3)
    x = drawn_images(vae, 5)
    q = vae.encode(x).base_dist
    prior = Normal(torch.zeros_like(q.loc), torch.ones_like(q.scale))
    expected = kl_divergence(Normal(q.loc, q.scale), prior).sum(-1)
    assert torch.allclose(elbo_terms(vae, x).rate, expected, rtol=1e-12)


def test_a_rate_without_a_closed_form_is_a_mean_over_the_draws():
    vae, x = model(posterior="flow").eval(), images(5)
    with torch.no_grad(), seeded(1):
        q = vae.encode(x)
        draws = [q.rsample() for _ in range(3)]
        expected = sum(q.log_prob(z) - vae.prior.log_prob(z) for z in draws) / 3
    assert torch.allclose(elbo_terms(vae, x, 3, seed=1).rate, expected, atol=1e-6)


def test_elbo_terms_repeat_with_the_seed_and_leave_the_callers_draws_alone():
    vae, _ = linear_gaussian_vae()
    x = drawn_images(vae, 5)
    state = torch.get_rng_state()
    first = elbo_terms(vae, x, seed=1)
    assert torch.equal(first.elbo, elbo_terms(vae, x, seed=1).elbo)
    assert not torch.equal(first.elbo, elbo_terms(vae, x, seed=2).elbo)
    assert torch.equal(state, torch.get_rng_state())
