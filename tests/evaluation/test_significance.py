"""Many tests at once, differences on the same images, the best of several settings."""

import numpy as np
import pytest
from scipy import stats

from pyro_vae.evaluation.significance import (
    all_differences,
    confidence_set,
    detectable,
    holm,
    mean_tests,
    normal_tests,
    paired_difference,
    two_way_mean,
    uniform_rank_p_values,
)
from tests.support.linear_gaussian import ACCEPTED, REJECTED


def test_holm_keeps_the_level_of_many_tests():
    rng = np.random.default_rng(0)
    rejected = sum(holm(rng.random(20)).min() < 0.05 for _ in range(2000))
    assert stats.binomtest(rejected, 2000, 0.05).pvalue > 1e-3


def test_p_values_of_normals_and_ranks():
    rng = np.random.default_rng(0)
    z = np.stack([rng.normal(size=500), rng.normal(0.5, size=500)], 1)
    distances, p = normal_tests(z)
    assert p[0] > ACCEPTED and p[1] < REJECTED
    shifted = 2 * stats.norm.cdf(0.25) - 1  # of Phi(t - 0.5) from Phi(t), at t = 0.25
    assert abs(distances[1] - shifted) < 5 * 0.5 / np.sqrt(500)  # Monte Carlo, five errors
    ranks = np.stack([rng.integers(0, 100, 2000), rng.integers(0, 100, 2000) // 2], 1)
    p = uniform_rank_p_values(ranks, 99, 20)
    assert p[0] > ACCEPTED and p[1] < REJECTED


def test_a_detectable_deviation_is_found_in_four_of_five_repeats():
    rng = np.random.default_rng(0)
    visible = detectable(1 / np.sqrt(200), num_tests=6)
    _, p_values = mean_tests(rng.normal(visible, 1, size=(200, 4000)), 0)
    found = (p_values < 0.05 / 6).sum()
    assert stats.binomtest(int(found), 4000, 0.8).pvalue > 1e-3


def test_tests_of_means_keep_their_level():
    errors, p_values = mean_tests(np.random.default_rng(0).normal(3, 2, size=(200, 4000)), 3)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    assert np.allclose(errors, 2 / np.sqrt(200), rtol=0.3)


# --- settings on the same images ------------------------------------------------------------------


def made_up(rng, means=(0.0, 0.0), seeds=5, images=300, of_images=1.0, of_seeds=0.05, noise=0.1):
    """Settings on the same images: effects of images in common, of seeds, and of both."""
    common = of_images * rng.normal(size=images)
    return [
        common
        + mean
        + of_seeds * rng.normal(size=(seeds, 1))
        + noise * rng.normal(size=images)
        + noise * rng.normal(size=(seeds, images))
        for mean in means
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("of_seeds", [0.0, 0.05, 0.5])
def test_a_setting_entered_twice_is_told_apart_as_rarely_as_stated(seeds, of_seeds):
    rng = np.random.default_rng(0)
    pairs = [made_up(rng, seeds=seeds, of_seeds=of_seeds, images=100) for _ in range(1000)]
    rejected = sum(paired_difference(*pair).p_value < 0.05 for pair in pairs)
    assert stats.binomtest(rejected, 1000, 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("of_seeds, seeds", [(0.05, 5), (0.5, 10)])
def test_intervals_cover_the_difference_as_often_as_stated(of_seeds, seeds):
    rng, covered = np.random.default_rng(1), 0
    for _ in range(1000):
        settings = made_up(rng, (0.3, 0), seeds, images=100, of_seeds=of_seeds)
        low, high = paired_difference(*settings).interval()
        covered += low < 0.3 < high
    assert stats.binomtest(covered, 1000, 0.95, alternative="less").pvalue > 1e-3
    assert covered < 1000, "intervals that are too wide cover always"


def test_a_planted_difference_is_found_that_unpaired_errors_hide():
    """0.2 between settings, beside a deviation of 1 between images: 0.08 in each mean of 300."""
    rng = np.random.default_rng(2)
    repeats = [made_up(rng, (0.2, 0)) for _ in range(200)]
    found = [paired_difference(*pair).p_value < 0.05 for pair in repeats]
    unpaired = [stats.ttest_ind(*(v.mean(0) for v in pair)).pvalue < 0.05 for pair in repeats]
    assert np.mean(found) > 0.95 and np.mean(unpaired) < 0.9


def test_one_seed_gives_a_difference_without_an_error():
    one, other = made_up(np.random.default_rng(0), seeds=2)
    found = paired_difference(one[:1], other)
    assert np.isfinite(found.mean) and np.isnan(found.standard_error) and np.isnan(found.p_value)


def test_the_matrix_is_antisymmetric_and_a_single_seed_has_no_error():
    rng = np.random.default_rng(4)
    *settings, single = made_up(rng, [0.0] * 3, seeds=3)
    matrix = all_differences([*settings, single[:1]])
    assert matrix[1][0].mean == -matrix[0][1].mean and matrix[2][2] is None
    assert np.isfinite(matrix[1][0].p_value) and np.isnan(matrix[2][0].p_value)
    assert np.isnan(two_way_mean(single[:1]).standard_error)


# --- the best of several settings -----------------------------------------------------------------


def coverage(draw, best, **options):
    """The share of repeats in which the set contains the setting that is best by construction."""
    rng = np.random.default_rng(0)
    return np.mean([confidence_set(draw(rng), **options)[best] for _ in range(400)])


@pytest.mark.slow
def test_the_truly_best_setting_is_in_the_set_as_often_as_stated():
    """All settings but the best are just worse, which is where errors are most frequent.

    The level is a lower bound, so the test is against it less 5 standard errors of the share.
    """
    slack = 5 * np.sqrt(0.9 * 0.1 / 400)
    few = {"seeds": 3, "images": 40, "of_seeds": 0.3, "noise": 1.0}
    paired = coverage(lambda rng: made_up(rng, [0, 0.001, 0], **few), best=1, level=0.9)
    assert paired >= 0.9 - slack
    of_seeds = coverage(lambda rng: rng.normal(size=(5, 2)), best=0, level=0.9)
    assert of_seeds >= 0.9 - slack
    assert of_seeds < 1, "a set that never leaves anything out covers always"


def test_a_planted_difference_leaves_the_worse_settings_out():
    """The gap is more than seven times the error of a difference, which is about 0.4."""
    rng = np.random.default_rng(1)
    few = {"seeds": 3, "images": 40, "of_seeds": 0.3, "noise": 1.0}
    for _ in range(20):
        settings = made_up(rng, [0, 3.0, 0, -3.0], **few)
        assert confidence_set(settings) == [False, True, False, False]
    assert confidence_set([[1, 1.1], [5, 5.1], [9, 9.1]], "lowest") == [True, False, False]
    assert confidence_set([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]) == [True, True, False]


def test_the_limit_is_that_of_the_tests():
    """The level at which a setting falls out, against p-values in closed form."""
    one, other = [1.0, 2.0], [4.0, 6.0]
    p_value = stats.t.sf(3.5 / np.sqrt(0.25 + 1), 1)  # of the pair by itself
    assert not confidence_set([one, other], level=1 - p_value - 1e-9)[0]
    assert confidence_set([one, other], level=1 - p_value + 1e-9)[0]
    many = [[0.0, 0.2], *([[n, n + 0.2] for n in (3.0, 0.05, 0.1, 0.0)])]
    p_value = 4 * stats.t.sf(3 / 0.1 / np.sqrt(2), 5)  # four others, one variance of seeds
    alone = stats.t.sf(3 / 0.1 / np.sqrt(2), 1)
    assert not confidence_set(many, level=1 - max(p_value, alone) - 1e-9)[0]
    assert confidence_set(many, level=1 - max(p_value, alone) + 1e-9)[0]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one, other",
    [
        (np.zeros((2, 3)), np.zeros((2, 4))),
        (np.zeros((2, 1)), np.zeros((2, 1))),
        (np.zeros((2, 3)), np.zeros(2)),
        (np.zeros((2, 3, 1)), np.zeros((2, 3, 1))),
    ],
)
def test_differences_of_other_shapes_are_refused(one, other):
    with pytest.raises(
        ValueError, match=r"expected all \(S, N\) of the same images, or all \(S,\)"
    ):
        paired_difference(one, other)


@pytest.mark.parametrize(
    "settings, options, message",
    [
        ([[1, 2], [1, 2]], {"best": "nearest"}, "best: unknown name 'nearest'"),
        ([[1, 2], [1, 2]], {"level": 1}, "level: expected a probability between 0 and 1, got 1"),
        ([[1, 2]], {}, r"settings: expected two or more.*got \[\(2,\)\]"),
        ([[1], [2]], {}, r"of two seeds or more, got \[\(1,\), \(1,\)\]"),
        ([1.0, 2.0], {}, r"expected all \(S, N\) of the same images, or all \(S,\)"),
        ([[1, 2], [[1, 2], [1, 2]]], {}, "of the same images, or all .S,."),
        ([[1, 2], [1, float("nan")]], {}, "settings: expected finite values, got NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings, options, message):
    with pytest.raises(ValueError, match=message):
        confidence_set(settings, **options)
