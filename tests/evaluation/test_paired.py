"""Differences of settings on the same images, over images and seeds."""

import numpy as np
import pytest
from scipy import stats

from pyro_vae.evaluation.significance import all_differences, paired_difference


def made_up(rng, shift=0.0, seeds=5, images=300, of_images=1.0, of_seeds=0.05, noise=0.1):
    """Two settings on the same images: effects of images in common, of seeds, and of both."""
    common = of_images * rng.normal(size=images)
    return [
        common
        + mean
        + of_seeds * rng.normal(size=(seeds, 1))
        + noise * rng.normal(size=images)
        + noise * rng.normal(size=(seeds, images))
        for mean in (shift, 0.0)
    ]


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("of_seeds", [0.0, 0.05, 0.5])
def test_a_setting_entered_twice_is_told_apart_as_rarely_as_stated(seeds, of_seeds):
    rng = np.random.default_rng(0)
    p_values = [
        paired_difference(*made_up(rng, seeds=seeds, of_seeds=of_seeds)).p_value
        for _ in range(2000)
    ]
    rejected = int((np.array(p_values) < 0.05).sum())
    assert stats.binomtest(rejected, 2000, 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("of_seeds, seeds", [(0.05, 5), (0.5, 10)])
def test_intervals_cover_the_difference_as_often_as_stated(of_seeds, seeds):
    rng, covered = np.random.default_rng(1), 0
    for _ in range(2000):
        low, high = paired_difference(*made_up(rng, 0.3, seeds, of_seeds=of_seeds)).interval()
        covered += low < 0.3 < high
    assert 0.94 < covered / 2000 < 0.985


def test_a_planted_difference_is_found_that_unpaired_errors_hide():
    """0.2 between settings, beside a deviation of 1 between images: 0.08 in each mean of 300."""
    rng = np.random.default_rng(2)
    repeats = [made_up(rng, 0.2) for _ in range(200)]
    found = [paired_difference(*pair).p_value < 0.05 for pair in repeats]
    unpaired = [stats.ttest_ind(*(v.mean(0) for v in pair)).pvalue < 0.05 for pair in repeats]
    assert np.mean(found) > 0.95 and np.mean(unpaired) < 0.9
    paired, alone = np.mean(found), np.mean(unpaired)
    assert paired > alone


def test_images_alone_would_find_differences_that_are_those_of_seeds():
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(400):
        one, other = made_up(rng, seeds=2, of_seeds=0.1, noise=0.01)
        wrong += stats.ttest_1samp(one.mean(0) - other.mean(0), 0).pvalue < 0.05
    assert wrong / 400 > 0.8, "the error of images alone is too small by far"


def test_one_seed_gives_a_difference_without_an_error():
    one, other = made_up(np.random.default_rng(0), seeds=2)
    found = paired_difference(one[:1], other)
    assert np.isfinite(found.mean) and np.isnan(found.standard_error) and np.isnan(found.p_value)


def test_the_matrix_is_antisymmetric_and_keeps_the_level_of_all_pairs():
    rng, rejected = np.random.default_rng(4), 0
    for _ in range(300):
        common = rng.normal(size=200)
        settings = [
            common + 0.1 * rng.normal(size=(3, 1)) + 0.1 * rng.normal(size=(3, 200))
            for _ in range(5)
        ]
        matrix = all_differences(settings)
        rejected += min(matrix[i][j].p_value for i in range(5) for j in range(i)) < 0.05
    assert matrix[2][1].mean == -matrix[1][2].mean and matrix[3][3] is None
    assert stats.binomtest(rejected, 300, 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize(
    "one, other",
    [(np.zeros((2, 3)), np.zeros((2, 4))), (np.zeros(3), np.zeros(3)), ([[1, np.nan]], [[1, 2]])],
)
def test_other_shapes_are_refused(one, other):
    with pytest.raises(ValueError, match=r"expected \(S, N\), \(S', N\) of the same images"):
        paired_difference(one, other)
