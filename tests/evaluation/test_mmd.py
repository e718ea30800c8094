"""The maximum mean discrepancy, by loops, in closed form, and as a test."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pyro_vae.evaluation.mmd import permutation_test, squared_discrepancy
from pyro_vae.randomness import seeded


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def kernel(a, b, bandwidth):
    return math.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2))


def pairs(count):
    return [(i, j) for i in range(count) for j in range(count) if i != j]


def test_the_discrepancy_is_that_of_the_double_loop():
    x, y = normal(7, 3), normal(12, 3) + 0.5
    pooled = torch.cat([x, y]).numpy()
    distances = [np.linalg.norm(a - b) for i, a in enumerate(pooled) for b in pooled[:i]]
    width = np.sort(distances)[len(distances) // 2]  # the median of 171 pairs, an odd number

    def within(v):
        return np.mean([kernel(v[i], v[j], width) for i, j in pairs(len(v))])

    between = np.mean([kernel(a, b, width) for a in x for b in y])
    exact = within(x) + within(y) - 2 * between
    assert permutation_test(x, y, 10).statistic == pytest.approx(exact, abs=1e-12)


def test_the_discrepancy_of_equal_sizes_is_that_of_the_double_loop():
    x, y = normal(7, 3), normal(7, 3) + 0.5
    terms = [
        kernel(x[i], x[j], 0.7) + kernel(y[i], y[j], 0.7)
        - kernel(x[i], y[j], 0.7) - kernel(x[j], y[i], 0.7)
        for i, j in pairs(7)
    ]  # fmt: skip
    assert squared_discrepancy(x, y, 0.7).mean == pytest.approx(np.mean(terms), abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_discrepancy_is_unbiased(shift):
    """300 pairs of small samples: 5 standard errors from the Normals' closed form."""
    h, d = 1.5, 2
    shrunk = h**2 / (h**2 + 2)
    exact = 2 * shrunk ** (d / 2) * (1 - math.exp(-(shift**2) / (2 * (h**2 + 2))))
    away = torch.tensor([shift, 0.0], dtype=torch.float64)
    values = [squared_discrepancy(normal(12, d), normal(12, d) + away, h).mean for _ in range(300)]
    error = np.std(values) / math.sqrt(300)
    assert abs(np.mean(values) - exact) < 5 * error and error < 0.01


def test_the_permutation_test_keeps_its_level():
    """200 pairs from one distribution: p <= 0.05 has probability 5/100 exactly; binomial p-value."""
    p_values = [permutation_test(normal(20, 2), normal(30, 2), 99).p_value for _ in range(200)]
    rejected = sum(p <= 0.05 for p in p_values)
    assert stats.binomtest(rejected, 200, 0.05).pvalue > 1e-3
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    assert min(p_values) >= 0.01  # the observed split is one of the 100


def test_the_permutation_test_finds_half_a_standard_deviation():
    """300 points in two dimensions, 20 times: every one at the 1 in 100 level."""
    tests = [permutation_test(normal(300, 2), normal(300, 2) + 0.5, 199) for _ in range(20)]
    p_values = [test.p_value for test in tests]
    assert max(p_values) <= 0.01 and min(p_values) == pytest.approx(1 / 200)


def test_equal_splits_are_ties():
    """Two values, every split alike or more extreme: p counts the ties, whatever the rounding."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]])
    assert permutation_test(x, y, 300).p_value == 1  # no split gives less than {0, 1} | {0, 1}


def test_points_are_checked():
    x = normal(4, 2)
    message = r"x, y: expected at least 2 points .* got shapes \(4, 2\) and \(4, 3\)"
    with pytest.raises(ValueError, match=message):
        squared_discrepancy(x, normal(4, 3), 1.0)
    with pytest.raises(ValueError, match=r"x, y: expected .* got shapes \(1, 2\) and \(4, 2\)"):
        permutation_test(x[:1], x)
    with pytest.raises(ValueError, match="at least 3 points each, equally many, got 4, 2"):
        squared_discrepancy(x, x[:2], 1.0)
    with pytest.raises(ValueError, match=r"bandwidth: expected a positive one .*, got -1"):
        squared_discrepancy(x, x, -1.0)
    with pytest.raises(ValueError, match=r"bandwidth: expected a positive one .*, got 0"):
        permutation_test(torch.zeros(4, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="num_permutations: expected at least 1, got 0"):
        permutation_test(x, x, 0)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.5])
def test_the_error_of_a_discrepancy_is_that_over_repeats_and_its_mean_that_of_any_size(shift):
    by_size = []
    for n in (20, 80):
        found = [squared_discrepancy(normal(n, 3), normal(n, 3) + shift, 2.0) for _ in range(400)]
        values, errors = torch.tensor(found).T
        assert 0.85 < errors.square().mean().sqrt() / values.std() < 1.3
        by_size.append((values.mean(), values.std() / 20))
    (few, error), (many, other) = by_size
    assert abs(few - many) < 5 * math.hypot(error, other)
    assert abs(few) < 5 * error if shift == 0 else few > 5 * error


@pytest.mark.cuda
def test_a_gpu_gives_the_same_discrepancy():
    x, y = normal(50, 3), normal(350, 3)
    with seeded(0, "cuda"):
        there = permutation_test(x.cuda(), y.cuda())
    assert there.statistic == pytest.approx(permutation_test(x, y).statistic, abs=1e-12)
    assert there.p_value > 1e-3
