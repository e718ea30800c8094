"""Metrics of codes against factors, on codes whose scores are known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, entropy
from sklearn.metrics import mutual_info_score

from pyro_vae.evaluation.disentanglement import (
    _trees,
    beta_vae_score,
    concentrations,
    dci,
    disentanglement,
    factor_vae_score,
    mutual_information_gap,
    separated_attribute_predictability,
)
from tests.support import seams
from tests.support.factors import factors_of_sprites, near, standardized

SIZES = torch.tensor([3.0, 4.0, 8.0, 8.0, 8.0], dtype=torch.float64)


TREES = _trees  # before a test puts others in their place
CHANCE = (1 / SIZES).mean().item()


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    seams.plant_few_trees(monkeypatch.setattr)


def test_the_trees_are_those_of_disentanglement_lib():
    """A hundred of scikit-learn's, by its defaults; the other tests have a fifth of them."""
    trees = TREES(np.arange(12.0)[:, None], np.arange(12) % 2, 0)
    assert (trees.n_estimators, trees.max_depth, trees.learning_rate) == (100, 3, 0.1)


@pytest.fixture(scope="module")
def grid():
    return factors_of_sprites()


# --- known scores ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_perfect_code_has_the_highest_scores(grid):
    """Factors permuted, scaled and shifted, beside a constant: exact, up to rounding."""
    codes = standardized(grid)[:, [3, 0, 4, 2, 1]] * torch.tensor([1, -2, 0.5, 3, 1]) + 7
    codes = torch.cat([codes, torch.full((len(grid), 1), 0.1)], 1)
    twice = torch.cat([codes, codes], 1)  # no component leads its copy
    assert mutual_information_gap(twice, grid).gap == 0
    assert separated_attribute_predictability(twice[:600], grid[:600]).gap == 0
    assert mutual_information_gap(codes, grid).gap == pytest.approx(1, abs=1e-12)
    parts = dci(codes[:800], grid[:800])
    assert parts.disentanglement == pytest.approx(1, abs=1e-9)
    assert parts.completeness == pytest.approx(1, abs=1e-9)
    assert parts.informativeness == (1, 0)
    assert beta_vae_score(codes, grid) == factor_vae_score(codes, grid) == (1, 0)


@pytest.mark.slow
def test_a_code_of_two_factors_out_of_five_scores_two_fifths(grid):
    """Fixing one of the other three looks alike: a third of those is guessed, or none by the vote."""
    codes = standardized(grid)[:, :2]
    assert mutual_information_gap(codes, grid).gap == pytest.approx(2 / 5, abs=1e-12)
    rows = torch.randint(len(grid), (1500,))  # independent, as the parts of a full grid are not
    parts = dci(codes[rows], grid[rows])
    assert torch.allclose(parts.importances[:, :2], torch.eye(2, dtype=torch.float64), atol=1e-9)
    assert near(parts.informativeness, (2 + 3 / 8) / 5)
    assert near(beta_vae_score(codes, grid), 3 / 5)
    assert near(factor_vae_score(codes, grid), 2 / 5)


@pytest.mark.slow
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
    assert parts.informativeness.mean > 0.35  # and 1/5 by chance


@pytest.mark.slow
def test_noise_scores_nothing(grid):
    """2N times each information is chi-square: 19 (k - 1) degrees of freedom; one p in 10,000."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.rand(len(grid), 10, generator=generator, dtype=torch.float64) * 3
    mig = mutual_information_gap(codes, grid)
    p = chi2.cdf(2 * len(grid) * mig.scores.sum(), 10 * 19 * (SIZES - 1).sum())
    assert 5e-5 < p < 1 - 5e-5 and 0 < mig.gap < (mig.scores.max(0).values / SIZES.log()).mean()
    spread = math.sqrt(CHANCE / 256)  # about the standard deviation of an accuracy among 8 values
    assert 0 <= separated_attribute_predictability(codes[:2000], grid[:2000]).gap < 5 * spread
    rows = torch.randint(len(grid), (1000,), generator=generator)
    parts = dci(torch.rand(1000, 10, generator=generator), grid[rows])
    assert max(parts.disentanglement, parts.completeness) < 0.03
    assert near(parts.informativeness, CHANCE)
    assert near(beta_vae_score(codes, grid, num_batches=1000), 1 / 5)
    assert near(factor_vae_score(codes, grid, num_batches=1000), 1 / 5)


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_components_that_never_vary_score_nothing_and_no_nan(grid, latent_dim):
    codes = torch.full((2000, latent_dim), 0.1)
    scores = disentanglement(codes, grid[:2000])
    for name in ("disentanglement", "completeness", "separated_attribute_predictability"):
        assert scores[name] == 0 or latent_dim == 1, "the only component leads a missing second"
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


def test_order_and_scale_of_components_and_names_of_values_play_no_part(grid):
    codes = standardized(grid) + 0.5 * torch.randn(len(grid), 5, dtype=torch.float64)
    changed = (codes * torch.tensor([0.001, -3.7, 20, 1, -1]) + 11)[:, [4, 2, 0, 1, 3]]
    before = mutual_information_gap(codes, grid)
    after = mutual_information_gap(changed, 5 - 3 * grid)  # gaps, negative numbers, another order
    assert before.gap == pytest.approx(after.gap, abs=1e-12)
    assert torch.allclose(before.scores[[4, 2, 0, 1, 3]], after.scores, atol=1e-12)


def test_predictability_of_binary_factors_is_known_by_hand():
    """Each component tells its own factor for sure, and the other one by a coin: 1 - 1/2."""
    factors = torch.cartesian_prod(*[torch.arange(2)] * 2).repeat(300, 1)[torch.randperm(1200)]
    codes = factors.double() * 4 - 2
    scores = separated_attribute_predictability(codes, factors).scores
    assert scores.diag().tolist() == [1, 1]
    assert (scores.flip(1).diag() - 0.5).abs().max() < 5 * 0.5 / math.sqrt(400)


def test_a_line_cannot_tell_an_inner_value_from_all_others():
    """Of eight equally frequent values of a perfect code, the machine misses some."""
    factors = (torch.arange(800) % 8).unsqueeze(1)
    codes = standardized(factors)
    assert 0.2 < separated_attribute_predictability(codes, factors).scores.item() < 0.8


# --- all components together ----------------------------------------------------------------------


@pytest.mark.slow
def test_scores_follow_from_the_importances_as_published(grid):
    """Against scipy's entropy, where every component serves several factors."""
    mix = torch.eye(5, dtype=torch.float64) + 0.4
    codes = torch.cat([standardized(grid) @ mix, torch.randn(len(grid), 2)], 1)[::8]
    parts = dci(codes, grid[::8, :3])
    r = parts.importances.numpy()
    assert r.sum(0) == pytest.approx(1) and (r >= 0).all()
    expected = np.average(1 - entropy(r, base=3, axis=1), weights=r.sum(1))
    assert parts.disentanglement == pytest.approx(expected, abs=1e-9)
    assert parts.completeness == pytest.approx((1 - entropy(r, base=7)).mean(), abs=1e-9)
    assert 0.02 < parts.disentanglement < 0.8


@pytest.mark.parametrize(
    "importances, disentangled, complete",
    [
        ([[2, 0], [0, 1]], 1, 1),
        ([[1, 1], [1, 1]], 0, 0),
        ([[3, 0], [0, 0]], 1, 1),  # a factor that nothing serves has no weight
        ([[0, 0], [0, 0]], 0, 0),
        ([[1, 1], [0, 2]], 1 / 2, 1 - (3 / 4) * 0.9182958340544896),  # H(1/3) in bits
    ],
)
def test_scores_of_importances_known_by_hand(importances, disentangled, complete):
    found = concentrations(torch.tensor(importances))
    assert found == pytest.approx((disentangled, complete), abs=1e-12)


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
    codes, factors = standardized(grid)[:320] + 0.2 * torch.randn(320, 5), grid[:320, :2]
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
            codes, factors, seed=3
        ).gap,
        "beta_vae_score": beta_vae_score(codes, factors, seed=3),
        "factor_vae_score": factor_vae_score(codes, factors, seed=3),
    }


@pytest.mark.slow
def test_draws_repeat_with_the_seed_and_leave_the_callers_alone(grid):
    codes, factors = torch.randn(320, 3), grid[:320, :2]
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
