"""Predictive checks: exact rates, and images whose measures are known."""

import pytest
import torch

from pyro_vae.evaluation.predictive import (
    brightness,
    contrast,
    nearest,
    neighbour_correlation,
    predictive_check,
    sparsity,
)


def test_right_models_are_rejected_at_the_stated_rate():
    """Of 19 sets beside the data's, p is k / 10 or less in k / 10 of all right models."""
    torch.manual_seed(0)
    values = torch.rand(4000, 20, 5).square()
    found = torch.tensor([predictive_check(x[0], x[1:]).tail_probability for x in values])
    for rate in (0.1, 0.3, 0.5):
        share = (found <= rate + 1e-9).double().mean().item()
        assert share == pytest.approx(rate, abs=5 * (rate * (1 - rate) / 4000) ** 0.5)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_shift_is_found_on_either_side(sign):
    torch.manual_seed(0)
    found = predictive_check(torch.randn(50) + sign, torch.randn(199, 50))
    assert found.tail_probability == pytest.approx(0.01)
    assert found.data == pytest.approx(sign, abs=5 / 50**0.5)
    assert found.lower < found.model < found.upper and not found.lower < found.data < found.upper


def test_a_measure_that_is_constant_finds_nothing():
    found = predictive_check(torch.ones(5), torch.ones(39, 5))
    assert found == (1.0, 1.0, 1.0, 1.0, 1.0)


def test_measures_of_images_that_are_known():
    checks = (torch.arange(4)[:, None] + torch.arange(4)) % 2
    halves = (torch.arange(4) < 2).float()[:, None].expand(4, 4)
    images = torch.stack([checks.float(), halves, torch.full((4, 4), 0.25)])[:, None]
    assert brightness(images).tolist() == [0.5, 0.5, 0.25]
    assert contrast(images).tolist() == [0.25, 0.25, 0.0]
    assert sparsity(images, 5).tolist() == [0.5, 0.5, 0.0]
    assert sparsity(images + 0.2, 3).tolist() == [0.5, 0.5, 0.0]  # nearer to level 0 than to 0.5
    # To the right all 12 pairs of the halves are alike, and below 8 of 12.
    assert neighbour_correlation(images).tolist() == pytest.approx([-1, (12 + 4) / 24, 0])


def test_the_nearest_of_known_images():
    torch.manual_seed(0)
    known = torch.rand(30, 3, 4, 4, dtype=torch.float64)
    distances, places = nearest(known[[7, 2]] + 0.01, known)
    assert places.tolist() == [7, 2]
    assert distances.tolist() == pytest.approx([0.01 * 48**0.5] * 2, rel=1e-4)
