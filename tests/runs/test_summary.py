"""What `summary.json` says is what was measured."""

import json
import math
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.evaluation.exact import linear_optimum
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.runs.summary import _convergence
from tests.support.house import ROOT
from tests.support.pages import Page
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_the_summary_says_what_was_measured(digits, copy_run):
    run = pv.load_run(copy_run("a", beta=2.0))
    summary = json.loads(Path("a/summary.json").read_text())
    assert summary == run.summary
    terms = elbo_terms(run.vae, digits.test.images)
    assert summary["test"]["elbo_nats"] == pytest.approx(terms.elbo.mean().item(), rel=1e-5)
    assert summary["test"]["rate_nats"] == pytest.approx(terms.rate.mean().item(), rel=1e-5)
    assert -summary["test"]["elbo_nats"] == pytest.approx(
        summary["test"]["rate_nats"] + summary["test"]["distortion_nats"], rel=1e-5
    )
    assert summary["test"]["elbo_nats"] == pytest.approx(run.metrics["test_elbo"][-1], rel=1e-5)
    assert summary["test"]["bits_per_dim"] > 0 and summary["test"]["bits_per_dim_samples"] == 16
    parts = {"encoder": 65 * 8 + 9 * 4, "decoder": 3 * 8 + 9 * 64, "likelihood": 1}
    assert summary["parameters"] == parts
    assert summary["beta"] == 2.0 and summary["engine"] == "eager" and summary["steps"] == 22
    assert summary["steps_per_second"] == pytest.approx(22 / summary["seconds"])
    assert summary["linear_optimum"] is None


def test_a_linear_run_is_held_against_its_closed_form(digits, copy_run):
    run = pv.load_run(copy_run("a", network="linear", hidden=None))
    exact = run.summary["linear_optimum"]
    optimum = linear_optimum(digits.train.images, 2)
    assert exact["elbo_nats"] == pytest.approx(optimum.elbo)
    assert exact["sigma"] == pytest.approx(optimum.sigma) and exact["active_units"] == 2
    assert run.summary["train"]["elbo_nats"] < exact["elbo_nats"]


def test_a_decoder_with_a_head_is_counted_and_has_no_closed_form(copy_run):
    """Fewer features than colours could not reach it."""
    settings = {"network": "linear", "hidden": None, "initialisation": "glorot"}
    run = pv.load_run(copy_run("a", **settings, decoder_features=2))
    assert run.summary["parameters"]["decoder"] == 3 * 128 + 3 * 1
    assert run.vae.decoder[-1].in_features == 2
    assert run.summary["linear_optimum"] is None


@pytest.mark.long
def test_the_pages_linear_run_reaches_the_likelihoods_maximum_under_ppca(no_pictures):
    """The command as the page gives it: within 0.05 nats of the closed form, sigma within 1%."""
    page = (ROOT / "docs" / "training.md").read_text().splitlines()
    (line,) = [line for line in page if line.startswith("pyro-vae train") and "linear" in line]
    assert main([*shlex.split(line)[1:], "--out", "a"]) == 0
    run = pv.load_run("a")
    exact = run.summary["linear_optimum"]
    assert abs(run.summary["train"]["elbo_nats"] - exact["elbo_nats"]) < 0.05
    assert run.vae.likelihood.scale.item() == pytest.approx(exact["sigma"], rel=0.01)


@pytest.mark.parametrize(
    "slope, schedule, word, advice",
    [
        (0.5, "constant", "still climbs", "be more patient"),
        (-0.5, "constant", "past its best", "the weights kept are those of epoch 150"),
        (0.0, "constant", "converged", "test ELBO by +0 nats, and its trend leaves +0 to gain"),
        (0.0, "cosine", "cannot tell", "a cosine schedule is always flat at its end"),
    ],
)
def test_a_run_that_stopped_early_is_judged_by_its_curve(slope, schedule, word, advice):
    """The test ELBO stands for 150 epochs, and moves by half a nat in each of the last 20."""
    curve = [slope * max(epoch - 150, 0) for epoch in range(1, 171)]
    training = SimpleNamespace(model=SimpleNamespace(has_rate=True), epoch=170, best_epoch=150)
    data = SimpleNamespace(image_shape=(1, 28, 28))
    config = pv.RunConfig(epochs=500, patience=20, learning_rate_schedule=schedule)
    found = _convergence(config, training, {"test_elbo": curve}, data)
    assert found["word"] == word and advice in found["reason"]
    assert found["reason"].startswith("stopped early by validation images; the last tenth moved")


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_family_leaves_a_complete_summary(no_pictures, name):
    np.save("a.npy", np.random.default_rng(0).integers(256, size=(60, 4, 4), dtype=np.uint8))
    run = pv.train(quick(dataset="a.npy", likelihood=name, epochs=1), "a")
    bits = run.summary["test"]["bits_per_dim"]
    assert (bits is None) == (name == "bernoulli") == (run.summary["baselines"] is None)
    test = run.summary["test"]
    numbers = [v for v in test.values() if v is not None and not isinstance(v, list)]
    assert all(math.isfinite(v) for v in numbers + test["rate_per_component_nats"])


@pytest.mark.slow
def test_an_autoencoder_has_no_rate_to_report():
    run = pv.train(quick(model="autoencoder", epochs=25), "a")
    test = run.summary["test"]
    assert run.summary["baselines"] is None and run.summary["convergence"]["word"]
    assert test["distortion_nats"] and test["active_units"] is not None
    empty = ("elbo_nats", "rate_nats", "bits_per_dim", "collapsed_units")
    assert [test[key] for key in empty] == [None] * 4
    assert run.metrics["train_rate"] == [None] * 25
    gap = test["distortion_nats"] - run.summary["train"]["distortion_nats"]
    assert run.summary["generalisation"]["gap_nats"] == pytest.approx(gap, rel=1e-4)
    assert not (run.folder / "figures" / "kl_histogram.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("sorted_labels", [True, False])
def test_overfitting_is_read_from_validation_images_drawn_at_random(sorted_labels, no_pictures):
    """Test images of another kind than those of training and validation: the gap contains that."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(60, 4, 4), dtype=np.uint8)
    labels = np.sort(rng.integers(2, size=60)) if sorted_labels else np.arange(60) % 2
    test = np.full((20, 4, 4), 255, dtype=np.uint8)
    parts = {"train_images": images, "train_labels": labels, "test_images": test}
    np.savez("own.npz", **parts, test_labels=np.arange(20) % 2)
    run = pv.train(quick(dataset="own.npz", validation="always"), "a")
    gap = run.summary["generalisation"]
    drawn = {key for key in gap if key.startswith("drawn_gap")}
    assert len(drawn) == (3 if sorted_labels else 0)
    if sorted_labels:
        expected = run.summary["train"]["elbo_nats"] - run.summary["validation"]["elbo_nats"]
        assert gap["drawn_gap_nats"] == pytest.approx(expected, rel=1e-5)
        assert abs(gap["drawn_gap_nats"]) < 5 * gap["drawn_gap_error"] < abs(gap["gap_nats"])


@pytest.mark.slow
def test_a_run_says_whether_it_beats_trivial_models(no_pictures):
    """One epoch is worse than one Gaussian of the digits; the report says so in words."""
    run = pv.train(quick(likelihood="discretized_logistic", epochs=1), "a")
    assert run.summary["baselines"]["one_gaussian"]["gain_nats"] < 0
    text = Page("a/report.html").text
    assert "It is worse than" in text and "It may not be trained far enough" in text
    assert "Cannot tell: it is shorter than 20 epochs" in text
