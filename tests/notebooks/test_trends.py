"""Trends of a measure over runs: those that are there, and those that are chance."""

import numpy as np
import pytest

from tests.support.linear_gaussian import ACCEPTED, REJECTED
from trends import trend


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
    assert trend([1, 1, 2, 2], [0.5] * 4)[:2] == (0, 1), "a measure that never varies"


@pytest.mark.parametrize("x", [[1, 1, 1], [1, 1, 2]])
def test_a_trend_needs_values_and_repeats(x):
    with pytest.raises(ValueError, match="x: expected two values or more with two runs or more"):
        trend(x, [1.0, 2.0, 3.0])
