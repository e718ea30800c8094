"""What a run says of itself beside trivial models, and of its learning curve."""

import pytest

import pyro_vae as pv
from tests.support.pages import Page
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


@pytest.mark.slow
def test_a_run_says_whether_it_beats_them():
    """One epoch is worse than one Gaussian of the digits; the report says so in words."""
    run = pv.train(quick(likelihood="discretized_logistic", epochs=1), "a")
    assert run.summary["baselines"]["one_gaussian"]["gain_nats"] < 0
    text = Page("a/report.html").text
    assert "It is not trained far enough, or worse than" in text
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
