"""What a run says of itself beside trivial models, and of its learning curve."""

from pathlib import Path

import numpy as np
import pytest

import pyro_vae as pv
from pyro_vae.measures.baselines import NAMES
from pyro_vae.notices import Notice
from tests.support.pages import Page
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


@pytest.mark.slow
def test_a_run_says_whether_it_beats_them():
    """One epoch is worse than one Gaussian of the digits; the report says so in words."""
    run = pv.train(quick(likelihood="discretized_logistic", epochs=1), "a")
    assert run.summary["baselines"]["one_gaussian"]["gain_nats"] < 0
    text = Page("a/report.html").text
    assert "It is worse than" in text and "It may not be trained far enough" in text
    assert "Cannot tell: it is shorter than 20 epochs" in text


@pytest.mark.slow
def test_what_has_no_probability_has_no_baseline():
    assert pv.train(quick(likelihood="bernoulli"), "a").summary["baselines"] is None
    run = pv.train(quick(model="autoencoder", epochs=25), "b")
    assert run.summary["baselines"] is None and run.summary["convergence"]["word"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings, word",
    [
        ({"epochs": 30, "learning_rate": 1e-4}, "still climbs"),
        ({"epochs": 30, "learning_rate": 1e-9}, "converged"),  # nothing moves any more
        ({"epochs": 30, "learning_rate": 1e-9, "learning_rate_schedule": "cosine"}, "cannot tell"),
    ],
)
def test_a_run_says_whether_its_curve_still_climbs(settings, word):
    assert pv.train(quick(**settings), "a").summary["convergence"]["word"] == word


@pytest.mark.parametrize(
    "shape, left",
    [((2, 8, 8), {"independent_pixels", "ppca"}), ((30, 1, 1), set(NAMES) - {"ppca"})],
)
def test_baselines_fail_no_run(shape, left):
    """Of two images one is trained on, and a single pixel has no component beside its noise."""
    np.save("mine.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    with pytest.warns(Notice, match="baselines: .* is left out: .*: expected .*, got"):
        run = pv.train(quick(dataset="mine.npy", score="levels", epochs=1), "a")
    assert set(run.summary["baselines"]) == left


@pytest.mark.slow
def test_damaged_caches_end_no_run(monkeypatch, tmp_path):
    """They are made again, outside of the working folder and of the data's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = quick(likelihood="discretized_logistic", epochs=1, data_dir="elsewhere")
    first = pv.train(config, "a").summary["baselines"]
    files = list(Path("cache").rglob("*.npz"))
    for file in files:
        file.write_bytes(file.read_bytes()[:-40])
    with pytest.warns(Notice, match="kept: .* cannot be read: .*; what it held is computed again"):
        assert pv.train(config, "b").summary["baselines"] == first
    assert len(files) == 3 and {path.name for path in Path().iterdir()} == {"a", "b", "cache"}
