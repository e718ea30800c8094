"""The maximum mean discrepancy, by loops, in closed form, and as a test."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pyro_vae.evaluation.mmd import (
    maximum_mean_discrepancy,
    mmd_permutation_test,
    squared_discrepancy,
)


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def discrepancy_by_loops(x, y, bandwidth):
    def kernel(a, b):
        return math.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2))

    def within(v):
        pairs = [(i, j) for i in range(len(v)) for j in range(len(v)) if i != j]
        return sum(kernel(v[i], v[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return within(x) + within(y) - 2 * between


def test_the_discrepancy_is_that_of_the_double_loop():
    x, y = normal(7, 3), normal(12, 3) + 0.5
    pooled = torch.cat([x, y]).numpy()
    distances = [np.linalg.norm(a - b) for i, a in enumerate(pooled) for b in pooled[:i]]
    median = np.sort(distances)[len(distances) // 2]  # 171 pairs: an odd number
    for bandwidth in (None, 0.7):
        loops = discrepancy_by_loops(x.numpy(), y.numpy(), bandwidth or median)
        assert maximum_mean_discrepancy(x, y, bandwidth) == pytest.approx(loops, abs=1e-12)
        test = mmd_permutation_test(x, y, 10, bandwidth=bandwidth)
        assert test.statistic == pytest.approx(loops, abs=1e-12)
        assert test.bandwidth == pytest.approx(bandwidth or median, rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_discrepancy_is_unbiased(shift):
    """300 pairs of small samples: 5 standard errors from the Normals' closed form."""
    h, d = 1.5, 2
    shrunk = h**2 / (h**2 + 2)
    exact = 2 * shrunk ** (d / 2) * (1 - math.exp(-(shift**2) / (2 * (h**2 + 2))))
    displacement = torch.tensor([shift, 0.0], dtype=torch.float64)
    values = [
        maximum_mean_discrepancy(normal(10, d), normal(15, d) + displacement, h) for _ in range(300)
    ]
    error = np.std(values) / math.sqrt(300)
    assert abs(np.mean(values) - exact) < 5 * error and error < 0.01


def test_the_permutation_test_keeps_its_level():
    """200 pairs from one distribution: p <= 0.05 has probability 5/100 exactly; binomial p-value."""
    tests = [mmd_permutation_test(normal(20, 2), normal(30, 2), 99, 10_000 + s) for s in range(200)]
    rejected = sum(t.p_value <= 0.05 for t in tests)
    assert stats.binomtest(rejected, 200, 0.05).pvalue > 1e-3
    assert stats.kstest([t.p_value for t in tests], "uniform").pvalue > 1e-3
    assert min(t.p_value for t in tests) >= 0.01  # the observed split is one of the 100


def test_the_permutation_test_finds_half_a_standard_deviation():
    """300 points in two dimensions, 20 times: every one at the 1 in 100 level."""
    p_values = [
        mmd_permutation_test(normal(300, 2), normal(300, 2) + 0.5, 199, s).p_value
        for s in range(20)
    ]
    assert max(p_values) <= 0.01 and min(p_values) == pytest.approx(1 / 200)


def test_equal_splits_are_ties():
    """Two values, every split alike or more extreme: p counts the ties, whatever the rounding."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]])
    splits = mmd_permutation_test(x, y, 300)
    assert splits.p_value == 1  # {0, 1} | {0, 1} is the least that any split gives


def test_points_are_checked():
    x = normal(4, 2)
    with pytest.raises(
        ValueError, match=r"x, y: expected at least 2 points .* got shapes \(4, 2\)"
    ):
        maximum_mean_discrepancy(x, normal(4, 3))
    with pytest.raises(ValueError, match=r"x, y: expected .* got shapes \(1, 2\) and \(4, 2\)"):
        mmd_permutation_test(x[:1], x)
    with pytest.raises(ValueError, match="bandwidth: expected a positive number, got 0"):
        maximum_mean_discrepancy(x, x, 0.0)
    with pytest.raises(ValueError, match="bandwidth: expected one, as the median distance is 0"):
        maximum_mean_discrepancy(torch.zeros(4, 2), torch.zeros(3, 2))


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.5])
def test_the_error_of_a_discrepancy_is_that_over_repeats_and_its_mean_that_of_any_size(shift):
    torch.manual_seed(0)
    by_size = []
    for n in (20, 80):
        found = [squared_discrepancy(normal(n, 3), normal(n, 3) + shift, 2.0) for _ in range(400)]
        values, errors = torch.tensor(found).T
        assert 0.85 < errors.square().mean().sqrt() / values.std() < 1.3
        by_size.append((values.mean(), values.std() / 20))
    (few, error), (many, other) = by_size
    assert abs(few - many) < 5 * math.hypot(error, other)
    assert abs(few) < 5 * error if shift == 0 else few > 5 * error


def test_a_discrepancy_is_the_paired_estimate_of_the_same_quantity():
    """The unbiased mean of all pairs leaves the pairs (x_i, y_i) out; the other estimate has them."""
    x, y = normal(300, 2), normal(300, 2) + 1
    assert squared_discrepancy(x, y, 1.0).mean == pytest.approx(
        maximum_mean_discrepancy(x, y, 1.0), abs=0.005
    )
    with pytest.raises(ValueError, match="at least 3 points each, equally many, got 300, 2"):
        squared_discrepancy(x, y[:2], 1.0)
