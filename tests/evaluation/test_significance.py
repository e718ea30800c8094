"""Many tests at once, and trends over runs."""

import numpy as np
import pytest
from scipy import stats

from pyro_vae.evaluation.significance import (
    detectable,
    holm,
    mean_tests,
    normal_tests,
    trend,
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


def test_a_trend_is_told_from_repeats_that_differ_as_much():
    x = np.repeat([1, 2, 4, 8], 5)
    noise = np.random.default_rng(0).normal(size=20)
    rising, none = trend(x, np.log2(x) + 0.1 * noise), trend(x, noise)
    assert rising.p_value < REJECTED and rising.correlation > 0.9
    assert none.p_value > ACCEPTED
    assert none.effect < 2 * none.spread and rising.effect > 20 * rising.spread
    assert rising.values.tolist() == [1, 2, 4, 8]
    assert rising.means == pytest.approx(np.arange(4) + 0.1 * noise.reshape(4, 5).mean(1))
    assert rising.spreads == pytest.approx(0.1 * noise.reshape(4, 5).std(1, ddof=1))
    assert rising.spread == pytest.approx(np.sqrt((rising.spreads**2).mean()))


def test_a_measure_that_never_varies_has_no_trend():
    assert trend([1, 1, 2, 2], [0.5] * 4)[:2] == (0, 1)


@pytest.mark.parametrize("x", [[1, 1, 1], [1, 1, 2]])
def test_a_trend_needs_values_and_repeats(x):
    with pytest.raises(ValueError, match="x: expected two values or more with two runs or more"):
        trend(x, [1.0, 2.0, 3.0])


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
