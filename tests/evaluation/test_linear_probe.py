"""A linear classifier of codes."""

import math

import pytest
import torch
from scipy.stats import norm

from pyro_vae.evaluation.features import linear_probe
from tests.support.factors import factors_of_sprites, near, standardized


@pytest.fixture(scope="module")
def grid():
    return factors_of_sprites()


def test_a_probe_of_two_normals_reaches_the_bayes_rate():
    """Phi(1) for means 2 apart; the fit on 4,000 rows costs well under one standard error."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (20000,), generator=generator)
    codes = torch.randn(20000, 2, generator=generator)
    codes[:, 0] = 1000 * (codes[:, 0] + 2 * labels)  # standardizing takes the scale away
    codes = torch.cat([codes, torch.ones(20000, 1)], 1)
    estimate = linear_probe(codes[:4000], labels[:4000], codes[4000:], labels[4000:])
    assert near(estimate, norm.cdf(1)) and estimate.standard_error > 0
    binomial = math.sqrt(estimate.mean * (1 - estimate.mean) / (16000 - 1))
    assert estimate.standard_error == pytest.approx(binomial, rel=1e-9)
    shuffled = labels[torch.randperm(20000, generator=generator)]
    assert near(linear_probe(codes[:4000], shuffled[:4000], codes[4000:], shuffled[4000:]), 1 / 2)


def test_the_scale_of_a_component_is_nothing_to_a_probe(grid):
    """The penalty alone would flatten a narrow component; one test row in 1,000 may turn by rounding."""
    codes = standardized(grid)[:2000] + 0.2 * torch.randn(2000, 5)
    labels = grid[:2000, 4]
    changed = codes * torch.tensor([1, 1, 1, 100, 0.001]) + 5
    before, after = (
        linear_probe(z[:1000], labels[:1000], z[1000:], labels[1000:]) for z in (codes, changed)
    )
    assert before.mean == pytest.approx(after.mean, abs=0.0011) and before.mean > 0.5


def test_a_probe_refuses_what_does_not_fit():
    codes, labels = torch.rand(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"test_codes: expected \(N, 2\), not empty, got \(4, 1\)"):
        linear_probe(codes, labels, codes[:, :1], labels)
    with pytest.raises(ValueError, match=r"train_codes: expected finite numbers"):
        linear_probe(codes / 0, labels, codes, labels)
    with pytest.raises(ValueError, match=r"test_labels: expected \(4,\), got \(3,\)"):
        linear_probe(codes, labels, codes, labels[:3])
    with pytest.raises(ValueError, match="train_labels: expected at least 2 different ones, got 1"):
        linear_probe(codes, labels * 0, codes, labels)
