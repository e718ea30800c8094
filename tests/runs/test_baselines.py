"""A run beside trivial models of its training images."""

from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation import baselines as functions
from pyro_vae.runs.baselines import beside_baselines, not_beaten
from tests.support.pages import Page
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_the_gain_is_paired_over_images(digits):
    log_prob = functions.independent_pixels(digits.test.images, digits.train.images, 17)
    found = beside_baselines(digits, log_prob + 3, 2, "data")
    assert list(found) == ["independent_pixels", "one_gaussian", "ppca"]
    same = found["independent_pixels"]
    assert same["gain_nats"] == pytest.approx(3) and same["gain_error"] == pytest.approx(0)
    assert found["one_gaussian"]["gain_error"] > 0.1
    equal = beside_baselines(digits, log_prob, 2, "data")
    assert not_beaten(equal) == ["independent pixels", "one Gaussian"]
    assert equal["ppca"]["gain_nats"] > 0, "sigma at the density's optimum is too large on levels"


def test_they_are_computed_once_and_kept(digits, monkeypatch):
    log_prob = torch.zeros(len(digits.test))
    first = beside_baselines(digits, log_prob, 2, "data")
    monkeypatch.setattr("pyro_vae.runs.baselines.one_gaussian", lambda *_: pytest.fail("again"))
    assert beside_baselines(digits, log_prob, 2, "data") == first
    for path in Path("data/baselines").iterdir():
        path.write_bytes(b"damaged")
    monkeypatch.undo()
    again = beside_baselines(digits, log_prob, 2, "data")
    for name, figures in first.items():  # to rounding, which depends on where a tensor lies
        assert again[name] == pytest.approx(figures, rel=1e-7)


def test_a_run_says_whether_it_beats_them():
    """One epoch is worse than one Gaussian of the digits; the report says so in words."""
    run = pv.train(quick(likelihood="discretized_logistic", epochs=1), "a")
    assert run.summary["baselines"]["one_gaussian"]["gain_nats"] < 0
    text = Page("a/report.html").text
    assert "No: it is not trained far enough, or worse than" in text
    assert "Cannot tell: it is shorter than 20 epochs" in text


def test_what_has_no_probability_has_no_baseline():
    assert pv.train(quick(likelihood="bernoulli"), "a").summary["baselines"] is None
    run = pv.train(quick(model="autoencoder", epochs=25), "b")
    assert run.summary["baselines"] is None and run.summary["convergence"]["word"]


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
