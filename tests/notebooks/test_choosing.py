"""The runs at the best value of a setting, and the distances of the others from it."""

import numpy as np
import pandas as pd
import pytest

from choosing import at_best, behind_best
from pyro_vae.evaluation.significance import paired_difference

NUMBERS = pd.DataFrame({"beta": [1, 1, 4, 4, 8], "bits": [1.0, 2.0, 5.0, 9.0, 3.0]})


def test_the_runs_at_the_best_value():
    table = pd.concat([NUMBERS.assign(data="a"), NUMBERS.assign(data="b", bits=-NUMBERS["bits"])])
    chosen = at_best(table, "bits", "beta", "data")
    assert chosen["data"].tolist() == ["a", "a", "b", "b"]
    assert chosen["beta"].tolist() == [4, 4, 1, 1]
    table["family"] = "laplace"
    chosen = at_best(table, "bits", "beta", ["data", "family"], best="lowest")
    assert chosen["beta"].tolist() == [1, 1, 4, 4]


def test_distances_from_the_best_are_paired():
    """Three betas of two seeds each, measured on the same thirty images."""
    rng = np.random.default_rng(0)
    common = 5 * rng.normal(size=30)
    nats = {
        beta: common + mean + 0.5 * rng.normal(size=(2, 30))
        for beta, mean in {1: 1.0, 2: 3.0, 3: 0.0}.items()
    }
    rows = [{"data": "d", "beta": b, "nats": v} for b, values in nats.items() for v in values]
    table = pd.DataFrame(rows)
    behind = behind_best(table, "nats", "beta", "data")
    assert behind.index.tolist() == [("d", 2), ("d", 1), ("d", 3)]
    assert behind.iloc[0].tolist() == [0.0, 0.0]
    exact = paired_difference(nats[2], nats[3])
    assert behind.iloc[2].tolist() == [exact.mean, exact.standard_error]
    lowest = behind_best(table, "nats", "beta", ["data"], best="lowest")
    assert [index[-1] for index in lowest.index] == [3, 1, 2]
    assert lowest["behind"].iloc[2] == exact.mean


def test_unknown_names_are_refused():
    table = NUMBERS.assign(data="a")
    with pytest.raises(ValueError, match="best: unknown name 'top'"):
        behind_best(table, "bits", "beta", "data", best="top")
    with pytest.raises(ValueError, match="column: unknown name 'bet'"):
        at_best(table, "bits", "bet", "data")
