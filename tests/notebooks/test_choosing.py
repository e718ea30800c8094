"""The runs at the best value of a setting, and the distances of the others from it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from choosing import at_best, behind_best
from pyro_vae.evaluation.significance import all_differences

NUMBERS = pd.DataFrame({"beta": [1, 1, 4, 4, 8], "bits": [1.0, 2.0, 5.0, 9.0, 3.0]})


def test_the_runs_at_the_best_value():
    table = pd.concat([NUMBERS.assign(data="a"), NUMBERS.assign(data="b", bits=-NUMBERS["bits"])])
    chosen = at_best(table, "bits", "beta", "data")
    assert chosen["data"].tolist() == ["a", "a", "b", "b"]
    assert chosen["beta"].tolist() == [4, 4, 1, 1]
    for setting, by in (("beta", "data"), ("data", "level")):  # an unset value is one of them
        unset = table.assign(beta=table["beta"].replace(1, np.nan), level=None)
        lowest = at_best(unset, "bits", setting, by, best="lowest")
        assert lowest["data"].tolist() == (["a", "a", "b", "b"] if setting == "beta" else ["b"] * 5)
        assert len(behind_best(unset, "bits", setting, by)) == (6 if setting == "beta" else 2)
    table["family"] = "laplace"
    chosen = at_best(table, "bits", "beta", ["data", "family"], best="lowest")
    assert chosen["beta"].tolist() == [1, 1, 4, 4]


def table_of(nats):
    """A row for each seed of each beta, with a measure of each image or a number."""
    rows = [{"data": "d", "beta": beta, "nats": v} for beta, values in nats.items() for v in values]
    return pd.DataFrame(rows)


def test_distances_from_the_best_are_paired():
    """Three betas of three seeds each, measured on the same thirty images."""
    rng = np.random.default_rng(0)
    common = 5 * rng.normal(size=30)
    nats = {
        beta: common + mean + 0.5 * rng.normal(size=(3, 30))
        for beta, mean in {1: 1.0, 2: 3.0, 3: 0.0}.items()
    }
    behind = behind_best(table_of(nats), "nats", "beta", "data")
    assert behind.index.tolist() == [("d", 2), ("d", 1), ("d", 3)]
    assert behind.iloc[0].tolist() == [0.0, 0.0]
    exact = all_differences([nats[2], nats[1], nats[3]])[0][2]
    assert behind.iloc[2].tolist() == [exact.mean, exact.standard_error]
    lowest = behind_best(table_of(nats), "nats", "beta", ["data"], best="lowest")
    assert [index[-1] for index in lowest.index] == [3, 1, 2]
    assert lowest["behind"].iloc[2] == pytest.approx(exact.mean, rel=1e-12)  # rounding


@pytest.mark.slow
@pytest.mark.parametrize("seeds, images", [(3, 30), (1, 30), (3, None)])
def test_equal_values_are_rarely_behind_the_one_that_looks_best(seeds, images):
    """Nine of them; the level is an upper bound, so the test is one-sided."""
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(60):
        common = 5 * rng.normal(size=images or ())
        size = (9, seeds, images) if images else (9, seeds)
        behind = behind_best(
            table_of(dict(enumerate(common + rng.normal(size=size)))), "nats", "beta", "data"
        )
        wrong += behind["behind"].ne(0).any()
    assert stats.binomtest(wrong, 60, 0.05, alternative="greater").pvalue > 1e-3


def test_unknown_names_are_refused():
    table = NUMBERS.assign(data="a")
    with pytest.raises(ValueError, match="best: unknown name 'top'"):
        behind_best(table, "bits", "beta", "data", best="top")
    with pytest.raises(ValueError, match="column: unknown name 'bet'"):
        at_best(table, "bits", "bet", "data")
