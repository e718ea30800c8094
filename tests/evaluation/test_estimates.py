"""Means with their standard errors, and what the end of a learning curve tells."""

import numpy as np
import pytest
import torch

from pyro_vae.evaluation.estimates import Estimate, direction, estimate, moved_at_the_end


def test_an_estimate_is_a_mean_with_its_standard_error():
    values = torch.randn(10_000) * 3 + 7
    mean, error = estimate(values)
    assert mean == pytest.approx(values.mean().item()) and error == pytest.approx(0.03, rel=0.05)
    assert np.isnan(estimate(values[:1]).standard_error)


def curve(scale, noise=0.05, epochs=200, seed=0):
    """An ELBO that nears -100 exponentially, with noise."""
    rng, t = np.random.default_rng(seed), np.arange(epochs)
    return list(-100 - 50 * np.exp(-t / scale) + noise * rng.normal(size=epochs))


def test_the_movement_is_that_of_the_curve():
    found = moved_at_the_end(curve(100, noise=0))
    exact = 50 * (np.exp(-180 / 100) - np.exp(-199 / 100))
    assert found.mean == pytest.approx(exact, rel=0.02)
    assert moved_at_the_end([1.0] * 19) is None and moved_at_the_end([1.0] * 20) == (0, 0)


def test_noise_moves_nothing_but_for_chance():
    found = [moved_at_the_end(curve(1, seed=s)) for s in range(300)]
    moved, errors = np.array(found).T
    assert abs(moved.mean()) < 5 * moved.std() / np.sqrt(300)
    assert np.sqrt((errors**2).mean()) == pytest.approx(moved.std(), rel=0.15)


@pytest.mark.parametrize("scale, climbs", [(300, True), (100, True), (10, False)])
def test_a_curve_that_climbs_is_told_from_one_that_does_not(scale, climbs):
    found = [direction(moved_at_the_end(curve(scale, seed=s)), 784) for s in range(50)]
    assert np.mean(found) == pytest.approx(float(climbs), abs=0.1)


def test_a_small_rise_of_a_large_image_is_no_climb():
    rise = Estimate(0.5, 0.01)
    assert (direction(rise, 784), direction(rise, 3072)) == (1, 0)
    assert direction(Estimate(0.5, 0.3), 784) == 0 and direction(Estimate(-0.5, 0.01), 784) == -1
