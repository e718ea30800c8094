"""The ladder of bounds: which is the best, what lies between them, and when one of them fails."""

import math
from dataclasses import replace

import pytest
import torch

from pyro_vae.evaluation.ais import Annealed, Annealing, Bracket, annealed_importance_sampling
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.ladder import Ladder, climb
from tests.support.linear_gaussian import linear_gaussian_vae

ANNEALED = ("ais_from_prior", "ais_from_posterior")


def ladder(importance=-3.0, from_prior=-2.0, from_posterior=-2.5, error=0.1, bias=0.0):
    """A ladder made up, of four images with these bounds."""
    means = {"elbo": -9.0, "elbo_refitted": -5.0, "elbo_full_covariance": -4.0, "elbo_flow": -3.5}
    means["importance_bound"] = importance
    means |= dict(zip(ANNEALED, (from_prior, from_posterior)))
    rungs = {name: torch.full((4,), mean) for name, mean in means.items()}
    errors = {name: torch.full((4,), error) for name in ANNEALED}
    nothing = Annealed(*(torch.zeros(4) for _ in range(6)))
    biased = nothing._replace(bias=torch.full((4,), bias))
    return Ladder(
        rungs,
        errors,
        Bracket(nothing, nothing),
        biased,
        torch.full((4,), 7.0),
        0,
        torch.zeros(4),
        "elbo_refitted",
    )


@pytest.mark.parametrize("others", [{"importance": -1.0}, {"from_prior": -1.0}])
def test_the_estimate_is_fixed_whatever_the_other_bounds_say(others):
    assert ladder(**others).log_prob.tolist() == [-2.5] * 4


def test_gaps_lie_between_the_rungs():
    found = ladder().gaps
    assert found["approximation_gap"].tolist() == [-2.5 + 5] * 4
    assert found["amortization_gap"].tolist() == [-5 + 9] * 4
    assert found["correlation_gap"].tolist() == [-4 + 5] * 4
    assert found["shape_gap"].tolist() == [-2.5 + 4] * 4
    assert found["closed_by_flow"].tolist() == [-3.5 + 4] * 4


def test_the_error_of_the_mean_is_that_of_independent_chains_and_their_common_bias():
    assert ladder().monte_carlo_error == pytest.approx(0.1 / math.sqrt(4))
    assert ladder(bias=0.3).bias == pytest.approx(0.3)


@pytest.mark.parametrize(
    "importance, error, bias, missed",
    [
        (-12.0, 0.1, 0.0, 9.5),
        (-12.0, 5.0, 0.0, None),
        (-12.0, 0.1, 2.0, 9.5),
        (-12.0, 0.1, 9.4, None),
        (-2.6, 0.01, 0.0, None),
        (-1.0, 0.1, 0.0, None),
    ],
)
def test_what_the_importance_bound_misses_for_certain(importance, error, bias, missed):
    """More than half a nat, and more than five standard errors plus the bias of annealing."""
    found = ladder(importance=importance, error=error, bias=bias).missed
    assert found == (missed and pytest.approx(missed))


@pytest.mark.slow
def test_a_ladder_is_climbed_where_log_p_is_known():
    """Grey levels: a bin inside is a density times its width, as in the tests of annealing."""
    vae, exact = linear_gaussian_vae()
    x, counted = torch.randint(51, 205, (3, 1, 4, 4)).double() / 255, []
    annealing = Annealing(40, 16)
    found = climb(vae, x, 50, annealing, 20, progress=lambda *count: counted.append(count))
    fitted = ("elbo", "elbo_refitted", "elbo_full_covariance", "elbo_flow")
    assert list(found.rungs) == [*fitted, "importance_bound", *ANNEALED]
    assert found.failed_fits == 0 and (found.bound_effective_sample_size > 20).all()
    truth = exact.log_prob(x) - 16 * math.log(255)
    for name in ANNEALED:  # within five of its Monte Carlo errors, and these are small
        assert found.errors[name].max() < 0.4
        off = (found.rungs[name] - truth).abs()
        assert (off < 5 * found.errors[name] + 1e-3).all()  # 1e-3: a bin is no density
    alone = annealed_importance_sampling(vae, x, replace(annealing, start="prior"))
    assert torch.equal(found.rungs["ais_from_prior"], alone.log_prob)
    assert torch.equal(found.rungs["importance_bound"], importance_bound(vae, x, 50).log_prob)
    assert found.missed is None and not found.annealed.unsure.any()
    assert (found.annealed.effective_sample_size > 10).all()
    assert found.bracket.gap.shape == (3,)
    assert found.bracket.gap.mean() > -1  # an upper bound less a lower one, in expectation
    assert all(0 < n <= total for n, total, _ in counted)
    steps = [(n, total) for n, total, unit in counted if unit == "steps of a fit"]
    assert steps[:25] == [(n, 5) for n in range(1, 6)] + [(n, 20) for n in range(1, 21)]
    assert (40, 40, "temperatures") in counted and (3, 3, "images") in counted
