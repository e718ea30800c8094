"""Metrics of codes against factors, on codes whose scores are known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, entropy, norm
from sklearn.metrics import balanced_accuracy_score, mutual_info_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import NearestCentroid

from pyro_vae.evaluation.disentanglement import (
    beta_vae_score,
    dci,
    disentanglement,
    factor_vae_score,
    mutual_information_gap,
    separated_attribute_predictability,
)
from tests.support.factors import factors_of_sprites, near, standardized

SIZES = torch.tensor([3.0, 4.0, 8.0, 8.0, 8.0], dtype=torch.float64)


CHANCE = (1 / SIZES).mean().item()


@pytest.fixture(scope="module")
def grid():
    return factors_of_sprites()


# --- known scores ---------------------------------------------------------------------------------


def test_a_perfect_code_has_the_highest_scores(grid):
    """Factors permuted, scaled and shifted, beside a constant: exact, up to rounding."""
    codes = standardized(grid)[:, [3, 0, 4, 2, 1]] * torch.tensor([1, -2, 0.5, 3, 1]) + 7
    codes = torch.cat([codes, torch.full((len(grid), 1), 0.1)], 1)
    assert mutual_information_gap(codes, grid).gap == pytest.approx(1, abs=1e-12)
    sap = separated_attribute_predictability(codes, grid)
    assert sap.gap == pytest.approx(1 - CHANCE, abs=1e-12)
    parts = dci(codes, grid)
    assert parts.disentanglement == pytest.approx(1, abs=1e-12)
    assert parts.completeness == pytest.approx(1, abs=1e-12)
    assert parts.informativeness == (1, 0)
    assert beta_vae_score(codes, grid) == factor_vae_score(codes, grid) == (1, 0)


def test_a_code_of_two_factors_out_of_five_scores_two_fifths(grid):
    """Fixing one of the other three looks alike: a third of those is guessed, or none by the vote."""
    codes = standardized(grid)[:, :2]
    assert mutual_information_gap(codes, grid).gap == pytest.approx(2 / 5, abs=1e-12)
    gap = separated_attribute_predictability(codes, grid).gap
    assert gap == pytest.approx((2 / 3 + 3 / 4) / 5, abs=1e-12)
    rows = torch.randint(len(grid), (6000,))  # independent, as the parts of a full grid are not
    parts = dci(codes[rows], grid[rows])
    assert parts.disentanglement == pytest.approx(1, abs=1e-12)
    assert parts.completeness == pytest.approx(2 / 5, abs=1e-12)
    assert near(parts.informativeness, (2 + 3 / 8) / 5)
    assert near(beta_vae_score(codes, grid), 3 / 5)
    assert near(factor_vae_score(codes, grid), 2 / 5)


def test_an_even_mix_of_the_factors_scores_nothing():
    """A Hadamard rotation of a 5^4 grid: its symmetries carry each component into each other one."""
    factors = torch.cartesian_prod(*[torch.arange(5)] * 4)
    signs = torch.tensor([[1, 1], [1, -1]])
    codes = (factors - 2).double() @ torch.kron(signs, signs).double()
    mig = mutual_information_gap(codes, factors)
    assert mig.gap == pytest.approx(0, abs=1e-12) and mig.scores.min() > 0.05
    assert near(beta_vae_score(codes, factors), 1 / 4)
    assert near(factor_vae_score(codes, factors), 1 / 4)
    parts = dci(codes, factors)
    assert max(parts.disentanglement, parts.completeness) < 0.05
    assert parts.informativeness.mean > 0.5


@pytest.mark.slow
def test_any_rotation_lowers_the_scores_of_the_gap_but_not_of_the_batches(grid):
    """Fixing a factor leaves its own trace in a rotated code too: beta-VAE's score cannot see it."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    codes, factors = (standardized(grid) @ rotation)[:3000], grid[:3000]
    assert mutual_information_gap(codes, factors).gap < 0.4
    assert separated_attribute_predictability(codes, factors).gap < 0.4
    parts = dci(codes, factors)
    assert parts.disentanglement < 0.6 and parts.completeness < 0.7
    assert beta_vae_score(codes, factors).mean > 0.9


@pytest.mark.slow
def test_two_copies_of_a_code_have_no_gap_and_half_the_completeness(grid):
    """The forest takes either copy: completeness loses log 2 / log 10 if it takes them equally."""
    codes = standardized(grid).repeat(1, 2)
    assert mutual_information_gap(codes, grid).gap == 0
    assert separated_attribute_predictability(codes, grid).gap == 0
    parts = dci(codes, grid)
    assert parts.disentanglement == pytest.approx(1, abs=1e-12)
    assert 1 - math.log10(2) <= parts.completeness < 1 - 0.8 * math.log10(2)


@pytest.mark.slow
def test_noise_scores_nothing(grid):
    """2N times each information is chi-square: 19 (k - 1) degrees of freedom; one p in 10,000."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.rand(len(grid), 10, generator=generator, dtype=torch.float64) * 3
    mig = mutual_information_gap(codes, grid)
    p = chi2.cdf(2 * len(grid) * mig.scores.sum(), 10 * 19 * (SIZES - 1).sum())
    assert 5e-5 < p < 1 - 5e-5 and 0 < mig.gap < (mig.scores.max(0).values / SIZES.log()).mean()
    spread = math.sqrt(CHANCE / 768)  # about the standard deviation of an accuracy among 8 values
    assert 0 <= separated_attribute_predictability(codes, grid).gap < 5 * spread
    for seed in range(3):  # about one importance in 40 passes 2 standard errors, and none 5
        rows = torch.randint(len(grid), (1000,), generator=generator)
        parts = dci(torch.rand(1000, 10, generator=generator), grid[rows], seed)
        assert (parts.disentanglement, parts.completeness) == (0, 0)
        assert near(parts.informativeness, CHANCE)
    assert near(beta_vae_score(codes, grid, num_batches=1000), 1 / 5)
    assert near(factor_vae_score(codes, grid, num_batches=1000), 1 / 5)


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_components_that_never_vary_score_nothing_and_no_nan(grid, latent_dim):
    codes = torch.full((2000, latent_dim), 0.1)
    scores = disentanglement(codes, grid[:2000])
    for name in ("disentanglement", "completeness", "separated_attribute_predictability"):
        assert scores[name] == 0
    assert scores["mutual_information_gap"] == 0
    assert near(scores["informativeness"], CHANCE)
    assert near(scores["beta_vae_score"], 1 / 5) and near(scores["factor_vae_score"], 1 / 5)


# --- one component against one factor -------------------------------------------------------------


def test_information_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    codes = rng.integers(20, size=(500, 3))
    codes[0], codes[1] = 0, 19  # twenty values take the twenty bins
    factors = np.stack([codes[:, 0] // 4, (codes[:, 1] + rng.integers(5, size=500)) // 8], 1)
    scores = mutual_information_gap(torch.tensor(codes).double(), torch.tensor(factors)).scores
    expected = [[mutual_info_score(z, v) for v in factors.T] for z in codes.T]
    assert np.abs(scores.numpy() - expected).max() < 1e-10
    assert scores[0, 0].item() == pytest.approx(entropy(np.bincount(factors[:, 0])), abs=1e-10)


def test_order_and_linear_scale_of_the_components_play_no_part(grid):
    codes = standardized(grid) + 0.5 * torch.randn(len(grid), 5, dtype=torch.float64)
    changed = (codes * torch.tensor([0.001, -3.7, 20, 1, -1]) + 11)[:, [4, 2, 0, 1, 3]]
    before, after = (mutual_information_gap(z, grid) for z in (codes, changed))
    assert before.gap == pytest.approx(after.gap, abs=1e-12)
    assert torch.allclose(before.scores[[4, 2, 0, 1, 3]], after.scores, atol=1e-12)
    before, after = (separated_attribute_predictability(z, grid) for z in (codes, changed))
    assert before.gap == pytest.approx(after.gap, abs=1e-12)


def test_names_of_the_values_play_no_part(grid):
    """Gaps, negative numbers and another order among the values change nothing."""
    codes = standardized(grid[:1000]) + 0.5 * torch.randn(1000, 5, dtype=torch.float64)
    renamed = 5 - 3 * grid[:1000]
    before, after = (mutual_information_gap(codes, v).scores for v in (grid[:1000], renamed))
    assert torch.allclose(before, after, atol=1e-12)
    before, after = (
        separated_attribute_predictability(codes, v).scores for v in (grid[:1000], renamed)
    )
    assert torch.allclose(before, after, atol=1e-12)


def test_predictability_is_scikit_learns_nearest_centroid_leaving_one_out():
    """With a value that only one row has, which is then never predicted."""
    rng = np.random.default_rng(0)
    values = np.append(rng.integers(3, size=59), 3)
    codes = np.stack([values + rng.normal(size=60), rng.normal(size=60)], 1)
    expected = []
    for z in codes.T:
        guesses = cross_val_predict(NearestCentroid(), z[:, None], values, cv=LeaveOneOut())
        expected.append(balanced_accuracy_score(values, guesses))
    factors = torch.tensor(values).unsqueeze(1)
    scores = separated_attribute_predictability(torch.tensor(codes), factors).scores
    assert scores.squeeze(1).numpy() == pytest.approx(np.array(expected), abs=1e-12)


def test_predictability_of_a_noisy_code_is_that_of_its_normal_tails(grid):
    """Inner values err on both sides, the outer two on one: 1 - 2 (k - 1) / k Phi(-1 / 2 sigma)."""
    sigma = 0.4
    codes = grid + sigma * torch.randn(grid.shape, dtype=torch.float64)
    scores = separated_attribute_predictability(codes, grid).scores.diag()
    expected = 1 - 2 * (SIZES - 1) / SIZES * norm.cdf(-1 / (2 * sigma))
    error = (expected * (1 - expected) / len(grid)).sqrt()
    assert ((scores - expected).abs() < 5 * error).all()


# --- all components together ----------------------------------------------------------------------


@pytest.mark.slow
def test_scores_follow_from_the_importances_as_published(grid):
    """Against scipy's entropy, where every component serves several factors; and noise is left out."""
    mix = torch.eye(5, dtype=torch.float64) + 0.4
    codes = torch.cat([standardized(grid) @ mix, torch.randn(len(grid), 2)], 1)[:2500]
    parts = dci(codes, grid[:2500])
    r = parts.importances.numpy()
    assert (r[5:] == 0).all() and (r[:5].sum(1) > 0.1).all() and (r <= 1).all()
    disentangled = 1 - entropy(r[:5], base=5, axis=1)
    expected = np.average(disentangled, weights=r[:5].sum(1))
    assert parts.disentanglement == pytest.approx(expected, abs=1e-12)
    assert parts.completeness == pytest.approx((1 - entropy(r, base=7)).mean(), abs=1e-12)
    assert 0.02 < parts.disentanglement < 0.8


@pytest.mark.slow
def test_noise_within_the_components_costs_accuracy_only(grid):
    """One factor with noise each, beside pure noise: of 45 importances of 0, about one passes 2 errors.

    One that does is worth 2 or 3 standard errors, 0.02, beside five of 0.5: it costs under 0.05.
    """
    noise = torch.randn(len(grid), 10, dtype=torch.float64)
    codes = torch.cat([standardized(grid) + 0.3 * noise[:, :5], noise[:, 5:]], 1)[:2500]
    parts = dci(codes, grid[:2500])
    assert 0.95 < parts.disentanglement <= 1 + 1e-12
    assert 0.95 < parts.completeness <= 1 + 1e-12
    assert 0.5 < parts.informativeness.mean < 0.8


# --- batches with one factor fixed ----------------------------------------------------------------


def test_components_that_hardly_vary_have_no_vote(grid):
    """Standard deviation 0.05 is no active unit; 0.2 is one."""
    codes = standardized(grid)
    assert near(factor_vae_score(0.05 * codes, grid), 1 / 5)
    assert factor_vae_score(0.2 * codes, grid) == (1, 0)
    beside = torch.cat([0.05 * codes, codes[:, :1]], 1)  # one vote, always the same
    assert near(factor_vae_score(beside, grid), 1 / 5)


def test_part_of_a_grid_is_enough(grid):
    """Rows of a rare value are left out; of a perfect code the rest is still told apart."""
    part = torch.cat([grid[:700], torch.tensor([[9, 9, 9, 9, 9]])])
    codes = part.double()
    assert factor_vae_score(codes, part, num_batches=500) == (1, 0)
    assert beta_vae_score(codes, part, num_batches=500) == (1, 0)


def test_pairs_are_of_different_rows():
    """Two rows for each value: a partner that could be the row itself would halve the distance."""
    factors = torch.stack([torch.arange(40) // 2, torch.arange(40) % 2], 1)
    codes = torch.stack([torch.arange(40) % 2, torch.arange(40) // 2], 1).double()
    assert beta_vae_score(codes, factors, batch_size=1, num_batches=300) == (1, 0)


# --- the rules of the house -----------------------------------------------------------------------


@pytest.mark.slow
def test_all_scores_are_those_of_the_single_functions(grid):
    codes, factors = standardized(grid)[:800] + 0.2 * torch.randn(800, 5), grid[:800]
    scores = disentanglement(codes, factors, seed=3)
    parts, mig = dci(codes, factors, seed=3), mutual_information_gap(codes, factors)
    assert scores == {
        "mutual_information_gap": mig.gap,
        "mutual_information_nats": mig.scores.tolist(),
        "disentanglement": parts.disentanglement,
        "completeness": parts.completeness,
        "informativeness": parts.informativeness,
        "importances": parts.importances.tolist(),
        "separated_attribute_predictability": separated_attribute_predictability(
            codes, factors
        ).gap,
        "beta_vae_score": beta_vae_score(codes, factors, seed=3),
        "factor_vae_score": factor_vae_score(codes, factors, seed=3),
    }


@pytest.mark.slow
def test_draws_repeat_with_the_seed_and_leave_the_callers_alone(grid):
    codes, factors = torch.randn(600, 3), grid[:600]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    for score in (dci, beta_vae_score, factor_vae_score):
        first, again, other = (score(codes, factors, seed=s) for s in (1, 1, 2))
        assert str(first) == str(again) != str(other)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()


@pytest.mark.cuda
def test_codes_on_a_gpu_score_the_same(grid):
    codes, factors = standardized(grid)[:1000] + 0.2 * torch.randn(1000, 5), grid[:1000]
    assert mutual_information_gap(codes.cuda(), factors).scores.is_cuda
    here, there = disentanglement(codes, factors), disentanglement(codes.cuda(), factors.cuda())
    for name, score in here.items():
        assert np.allclose(score, there[name], atol=1e-9), name


FACTORS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])


SCORES = (
    mutual_information_gap,
    separated_attribute_predictability,
    dci,
    beta_vae_score,
    factor_vae_score,
)


@pytest.mark.parametrize("score", SCORES)
def test_bad_codes_and_factors_are_refused(score):
    codes = torch.rand(4, 2)
    with pytest.raises(
        ValueError, match=r"codes: expected \(N, latent_dim\), not empty, got \(4,\)"
    ):
        score(codes[:, 0], FACTORS)
    with pytest.raises(ValueError, match=r"codes: expected finite numbers, got NaN or infinity"):
        score(codes.log() * math.nan, FACTORS)
    with pytest.raises(
        ValueError, match=r"factors: expected \(4, F\) whole numbers, got \(3, 2\) of"
    ):
        score(codes, FACTORS[:3])
    with pytest.raises(ValueError, match=r"got \(4, 2\) of torch.float32"):
        score(codes, FACTORS.float())
    with pytest.raises(
        ValueError, match=r"factors: expected each to vary, got one value in .* \[1\]"
    ):
        score(codes, FACTORS * torch.tensor([1, 0]))


def test_batches_need_two_factors_and_enough_rows():
    codes = torch.rand(4, 2)
    for score in (beta_vae_score, factor_vae_score):
        with pytest.raises(ValueError, match="factors: expected at least 2 to tell apart, got 1"):
            score(codes, FACTORS[:, :1])
    with pytest.raises(ValueError, match="factors: expected 64 rows of some value of each, got 2"):
        factor_vae_score(codes, FACTORS)
    with pytest.raises(ValueError, match="factors: expected 2 rows of some value of each, got 1"):
        beta_vae_score(codes, torch.arange(8).view(4, 2))
