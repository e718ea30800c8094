"""Annealed importance sampling, where log p(x) is known."""

import math
from dataclasses import replace

import pytest
import torch

from pyro_vae.evaluation.ais import (
    Annealed,
    Annealing,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    log_mean_weight,
)
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.randomness import seeded
from tests.support.linear_gaussian import (
    OBLIQUE,
    ORTHOGONAL,
    assert_within,
    drawn_images,
    linear_gaussian_vae,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "oblique, start", [(ORTHOGONAL, "posterior"), (OBLIQUE, "posterior"), (OBLIQUE, "prior")]
)
def test_annealing_finds_log_p(oblique, start):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 8)
    found = annealed_importance_sampling(vae, x, Annealing(200, 32, start=start, score="density"))
    assert_within(found.log_prob, exact.log_prob(x), found.standard_error)
    if start == "posterior" and not oblique:  # it starts where it ends: nothing to anneal
        assert (found.log_prob - exact.log_prob(x)).abs().max() < 1e-6
    assert 0.5 < found.acceptance.mean() < 0.95


@pytest.mark.slow
def test_bidirectional_monte_carlo_brackets_log_p():
    vae, exact = linear_gaussian_vae(OBLIQUE)
    annealing = Annealing(40, num_chains=8, score="density")
    bracket = bidirectional_monte_carlo(vae, 30, annealing, seed=5)
    with seeded(5), torch.no_grad():
        x = vae.decode(vae.prior.sample((30,))).sample()
    truth = exact.log_prob(x)
    for side, sign in ((bracket.lower, 1), (bracket.upper, -1)):
        slack = sign * (truth - side.log_prob)
        error = slack.std() / math.sqrt(30)
        assert -5 * error < slack.mean() < 2  # a bound in expectation, and not a loose one
    assert bracket.gap.mean() > 0
    finer = bidirectional_monte_carlo(vae, 30, replace(annealing, num_temperatures=300), seed=5)
    assert finer.gap.mean().abs() < 0.2 * bracket.gap.mean()
    for side in finer:
        off = side.log_prob - truth
        assert off.mean().abs() < 5 * off.std() / math.sqrt(30)
    assert finer.upper.standard_error.isnan().all(), "all chains of an image start at one draw"


@pytest.mark.parametrize("deviation", [0.1, 1.0, 5.0, 10.0])
def test_the_error_of_the_log_of_a_mean_is_that_over_repeats(deviation):
    """Log weights of deviation 10: the error is 5.3 nats, and by the delta method 0.9."""
    torch.manual_seed(0)
    log_weights = deviation * torch.randn(16, 20_000, dtype=torch.float64)
    log_mean, error, size = log_mean_weight(log_weights)
    assert torch.allclose(log_mean, log_weights.exp().mean(0).log())
    weights = log_weights.exp()
    assert torch.allclose(size, weights.sum(0) ** 2 / weights.square().sum(0))
    true = log_mean.std()
    assert 0.95 * true < error.square().mean().sqrt() < 1.15 * true


def test_a_single_chain_has_no_error_and_few_are_counted():
    few = Annealed(*torch.tensor([[-1.0, -1.0], [0.1, 0.1], [2.9, 3.1], [0.6, 0.6]]))
    assert few.of_few_chains.tolist() == [True, False]
    log_mean, error, size = log_mean_weight(torch.tensor([[-2.0, 3.0]]))
    assert log_mean.tolist() == [-2, 3] and error.isnan().all() and size.tolist() == [1, 1]


@pytest.mark.slow
def test_the_error_of_backward_chains_is_that_over_repeats_where_they_are_independent():
    """One image many times: chains from draws of their own have the error that they report."""
    vae, exact = linear_gaussian_vae(OBLIQUE)
    annealing = Annealing(20, 8, score="density")
    bracket = bidirectional_monte_carlo(
        vae, 400, annealing, seed=2, posterior=lambda x: exact.posterior(x)
    )
    with seeded(2), torch.no_grad():
        x = vae.decode(vae.prior.sample((400,))).sample()
    off = bracket.upper.log_prob - exact.log_prob(x)
    reported = bracket.upper.standard_error.square().mean().sqrt()
    assert off.mean() > -5 * off.std() / math.sqrt(400)
    assert 0.8 * off.std() < reported < 1.6 * off.std()


@pytest.mark.slow
def test_levels_are_annealed_too():
    """A bin inside is a density times its width 1/255, but for 1/24 (width / sigma)^2 per pixel."""
    vae, exact = linear_gaussian_vae(ORTHOGONAL)
    x = torch.randint(51, 205, (8, 1, 4, 4)).double() / 255
    truth = exact.log_prob(x) - 16 * math.log(255)
    annealed = annealed_importance_sampling(vae, x, Annealing(200, 32))
    assert_within(annealed.log_prob, truth, annealed.standard_error)
    assert (importance_bound(vae, x, 200).log_prob - truth).abs().max() < 0.001


def test_names_that_are_unknown_are_refused():
    with pytest.raises(ValueError, match="start: unknown name 'priors'; did you mean 'prior'"):
        Annealing(start="priors")
    vae, _ = linear_gaussian_vae()
    with pytest.raises(ValueError, match="score: unknown name 'level'; did you mean 'levels'"):
        annealed_importance_sampling(vae, drawn_images(vae, 2), Annealing(5, score="level"))


def test_temperatures_go_from_0_to_1():
    t = torch.tensor(Annealing(10).temperatures)
    assert t[0] == 0 and t[-1] == 1 and (t.diff() > 0).all() and len(t) == 11


@pytest.mark.slow
def test_the_importance_bound_fails_where_sigma_is_small_and_annealing_does_not():
    """A spoilt encoder and a sharp likelihood: 5,000 samples miss by nats what chains find."""
    vae, exact = linear_gaussian_vae(ORTHOGONAL, spoil=0.5, sigma=0.02)
    x = drawn_images(vae, 4)
    truth = exact.log_prob(x)
    bound = importance_bound(vae, x, 5000, score="density").log_prob
    found = annealed_importance_sampling(vae, x, Annealing(400, 16, score="density"))
    assert (truth - bound).mean() > 50
    assert (found.log_prob - truth).abs().mean() < 2
