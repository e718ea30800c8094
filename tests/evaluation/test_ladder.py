"""The ladder of bounds: which is the best, what lies between them, and when one of them fails."""

import math

import pytest
import torch

from pyro_vae.evaluation.ais import Annealed, Annealing, Bracket
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.ladder import Ladder, climb
from tests.support.linear_gaussian import drawn_images, linear_gaussian_vae

ANNEALED = ("ais_from_prior", "ais_from_posterior")


def ladder(importance=-3.0, from_prior=-2.0, from_posterior=-2.5, error=0.1):
    """A ladder made up, of four images with these bounds."""
    means = {"elbo": -9.0, "elbo_refitted": -5.0, "elbo_full_covariance": -4.0, "elbo_flow": -3.5}
    means["importance_bound"] = importance
    means |= dict(zip(ANNEALED, (from_prior, from_posterior)))
    rungs = {name: torch.full((4,), mean) for name, mean in means.items()}
    errors = {name: torch.full((4,), error) for name in ANNEALED}
    nothing = Annealed(*(torch.zeros(4) for _ in range(4)))
    sizes = torch.full((4,), 9.0), torch.full((4,), 7.0)
    return Ladder(rungs, errors, Bracket(nothing, nothing), 0.65, *sizes, 0, 0)


@pytest.mark.parametrize("others", [{"importance": -1.0}, {"from_prior": -1.0}])
def test_the_estimate_is_fixed_whatever_the_other_bounds_say(others):
    assert ladder(**others).log_prob.tolist() == [-2.5] * 4


def test_the_mean_of_the_estimate_is_not_biased_upwards():
    """Three bounds with the same mean and noise: the largest mean would be 0.85 errors too high."""
    torch.manual_seed(0)
    found = []
    for _ in range(400):
        draws = iter(torch.randn(3, 4))
        rungs = {name: next(draws) for name in ("importance_bound", *ANNEALED)}
        found.append(ladder()._replace(rungs=rungs).log_prob.mean())
    found = torch.stack(found)
    assert abs(found.mean()) < 5 * found.std() / math.sqrt(len(found))


def test_gaps_lie_between_the_rungs():
    found = ladder()
    assert found.approximation_gap.tolist() == [-2.5 + 5] * 4
    assert found.amortization_gap.tolist() == [-5 + 9] * 4
    assert found.correlation_gap.tolist() == [-4 + 5] * 4
    assert found.shape_gap.tolist() == [-2.5 + 4] * 4
    assert found.closed_by_flow.tolist() == [-3.5 + 4] * 4


def test_the_error_of_the_mean_is_that_of_independent_chains():
    assert ladder().monte_carlo_error == pytest.approx(0.1 / math.sqrt(4))


@pytest.mark.parametrize(
    "importance, error, missed",
    [(-12.0, 0.1, 9.5), (-12.0, 5.0, None), (-2.6, 0.01, None), (-1.0, 0.1, None)],
)
def test_what_the_importance_bound_misses_for_certain(importance, error, missed):
    """More than a nat, and more than five standard errors."""
    found = ladder(importance=importance, error=error).missed
    assert found == (missed and pytest.approx(missed))


@pytest.mark.slow
def test_a_ladder_is_climbed_where_log_p_is_known():
    """Grey levels: a bin inside is a density times its width, as in the tests of annealing."""
    vae, exact = linear_gaussian_vae()
    x = torch.randint(51, 205, (6, 1, 4, 4)).double() / 255
    found, done = [], []

    def count(*what):
        done.append(what)

    for seed in (0, 0):
        annealing = Annealing(60, 16)
        found.append(climb(vae, x, 50, annealing, refit_steps=100, seed=seed, progress=count))
    first, again = found
    fitted = ("elbo", "elbo_refitted", "elbo_full_covariance", "elbo_flow")
    assert list(first.rungs) == [*fitted, "importance_bound", *ANNEALED]
    assert first.failed_fits == 0 and (first.bound_effective_sample_size > 20).all()
    truth = exact.log_prob(x) - 16 * math.log(255)
    assert torch.equal(first.rungs["importance_bound"], importance_bound(vae, x, 50).log_prob)
    for name in ANNEALED:  # within five of its Monte Carlo errors, and these are small
        assert first.errors[name].max() < 0.3
        off = (first.rungs[name] - truth).abs()
        assert (off < 5 * first.errors[name] + 1e-3).all()  # 1e-3: a bin is no density
    assert first.missed is None and first.of_few_chains == 0
    assert (first.effective_sample_size > 10).all()
    assert 0.3 < first.acceptance < 0.95 and first.bracket.lower.log_prob.shape == (6,)
    assert all(torch.equal(bound, again.rungs[name]) for name, bound in first.rungs.items())
    half = len(done) // 2
    assert all(0 < n <= total for n, total, _ in done)
    assert [n for n, _, unit in done[:half] if unit == "steps of a fit"] == [*range(1, 101)] * 3
    assert (60, 60, "temperatures") in done and (6, 6, "images") in done


@pytest.mark.slow
def test_images_that_the_model_drew_bracket_their_own_log_p():
    vae, _ = linear_gaussian_vae(spoil=0.2)
    found = climb(
        vae, drawn_images(vae, 2).clamp(0, 1).mul(255).round() / 255, 20, Annealing(40, 8), 5
    )
    assert found.bracket.gap.mean() > -1  # an upper bound less a lower one, in expectation
