"""Where a learning curve ends; `benchmarks/statements.py` has the rates of errors."""

import numpy as np
import pytest

from pyro_vae.evaluation.convergence import end_of_curve

EPOCHS = np.arange(1, 201)


def noisy(curve, noise, seed=0):
    return curve + noise * np.random.default_rng(seed).normal(size=len(curve))


def test_what_is_left_is_that_of_the_curve():
    """A curve of a - b / epoch: its last tenth, from epoch 180, moves it by a ninth of what is left."""
    end = end_of_curve(-100 - 500 / EPOCHS, 64)
    assert end.word == "still climbs"
    assert end.left.mean == pytest.approx(500 / 200, rel=1e-9)  # rounding
    assert end.moved.mean == pytest.approx(500 / 180 - 500 / 200, rel=1e-9)


@pytest.mark.slow
def test_the_error_of_what_is_left_is_its_deviation():
    """One standard error is added to the autocorrelation, which makes errors of white noise larger."""
    ends = [end_of_curve(noisy(0.0 * EPOCHS, 1, seed), 784) for seed in range(300)]
    left, errors = np.array([end.left for end in ends if end.word == "converged"]).T
    assert abs(left.mean()) < 5 * left.std() / np.sqrt(300)
    assert 1 < np.sqrt((errors**2).mean()) / left.std() < 1.3


@pytest.mark.parametrize(
    "curve, noise, dimensions, word",
    [
        (0.0 * EPOCHS, 0.0, 64, "converged"),
        (0.0 * EPOCHS, 0.05, 784, "converged"),
        (0.0 * EPOCHS, 1.0, 64, "cannot tell"),  # within 0.2 nats, with an error of 0.3
        (-1000 / EPOCHS, 0.05, 784, "still climbs"),
        (-1000 / EPOCHS, 0.05, 3072, "converged"),  # 5 nats are little beside so many pixels
        (0.5 * EPOCHS, 1.0, 784, "still climbs"),
        (-0.5 * EPOCHS, 1.0, 784, "past its best"),
        (-0.5 * np.maximum(EPOCHS - 170, 0), 1.0, 784, "past its best"),
        (-500 / EPOCHS - 0.1 * np.maximum(EPOCHS - 150, 0), 0.1, 784, "past its best"),
    ],
)
def test_each_end_has_its_word(curve, noise, dimensions, word):
    assert end_of_curve(noisy(curve, noise), dimensions).word == word


def test_a_short_curve_has_no_end():
    assert end_of_curve([1.0] * 19, 784) is None
    assert end_of_curve([1.0] * 20, 784).word == "converged"
