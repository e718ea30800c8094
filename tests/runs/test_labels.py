"""A conditional run: its figures are given the labels, and what takes no labels refuses it."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.cli.training import _next_steps
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.randomness import seeded
from tests.support import seams
from tests.support.runs import TINY, quick

pytestmark = [pytest.mark.usefixtures("elsewhere"), pytest.mark.slow]
CONDITIONAL = {"conditional": 10, "validation": "always", "engine": "eager"}


def test_its_figures_are_of_images_given_their_labels(copy_run, no_pictures, monkeypatch):
    run = pv.load_run(copy_run("a", **CONDITIONAL))
    test = pv.load_dataset("digits").test

    def elbo(split):
        terms = elbo_terms(run.vae.given(split.labels), split.images)
        return pytest.approx(terms.elbo.mean().item(), abs=1e-4)

    assert run.summary["test"]["elbo_nats"] == elbo(test)
    assert run.summary["linear_optimum"] is None
    assert any("log P(x | y) is not comparable" in caution for caution in run.summary["cautions"])
    seams.evaluate_with(TINY, monkeypatch.setattr)
    found = pv.evaluate(run, quick=True)
    likelihood = found.pop("likelihood")
    assert likelihood["elbo_nats"]["mean"] == elbo(test[: TINY.bound_images])
    assert likelihood["bits_per_dim"]["mean"] > 0 and "ladder" not in likelihood
    assert "which take no labels" in likelihood["not_scored"]
    assert all("the model is conditional" in part["left_out"] for part in found.values())


def test_it_draws_a_row_for_each_class(copy_run):
    copy_run("a", **CONDITIONAL)
    assert main(["sample", "a", "--count", "15", "--out", "x.npy", "--pixels", "expected"]) == 0
    labels = torch.arange(10).repeat_interleave(2)
    with seeded(0):
        expected = pv.load_run("a").vae.given(labels).sample(20)
    assert np.array_equal(np.load("x.npy"), expected.numpy())


def test_use_of_a_run_takes_the_labels_of_images(copy_run):
    run = pv.load_run(copy_run("a", **CONDITIONAL))
    test, vae = pv.load_dataset("digits").test, run.vae
    assert torch.equal(
        run.encode("digits:test").mean, vae.given(test.labels).encode(test.images).mean
    )
    bound = importance_bound(vae.given(test.labels), test.images, 4).log_prob
    assert torch.equal(run.score("digits:test", 4).log_prob, bound)
    assert main(["reconstruct", "a", "digits:test", "--out", "x.png"]) == 0
    with pytest.raises(ValueError, match="labels: the model is conditional; expected"):
        run.encode(test.images)


def test_what_takes_no_labels_refuses_by_one_line(copy_run, capsys):
    assert "Explore" not in _next_steps(pv.load_run(copy_run("a", **CONDITIONAL)))
    np.save("x.npy", np.zeros((40, 4, 4), np.uint8))
    refused = {
        ("explore", "a"): "conditional: the page gives no labels to a model",
        ("train", "--dataset", "x.npy", "--conditional", "2", "--out", "b"): "labels: the model is"
        " conditional; expected torch.int64 from 0, (36,), one for each image, got none",
        (
            "train",
            "--conditional",
            "9",
            "--out",
            "b",
        ): "labels: 0 to 9 cannot be embedded: index 9 is"
        " out of bounds for dimension 0 with size 9",
    }
    for arguments, message in refused.items():
        capsys.readouterr()
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"pyro-vae: {message}\n"


def test_pictures_have_a_row_for_each_class(copy_run):
    """Of the run, and of a page that compares it with a run without labels."""
    run = pv.train(quick(conditional=10, epochs=1), "a")
    height, width, _ = imageio.imread(run.figures / "samples.png").shape
    assert round(8 * height / width) == 10
    assert not (run.figures / "interpolation.png").exists()
    copy_run("plain")
    assert main(["compare", "a", "plain", "--out", "page"]) == 0
    assert "samples of" in Path("page/report.html").read_text()


@pytest.mark.usefixtures("small_sweeps")
def test_a_sweep_in_one_batched_step():
    """Its runs are finished; their weights are compared where ensembles are."""
    model = ["--hidden", "8", "--latent-dim", "2", "--conditional", "10", "--epochs", "2"]
    assert main(["sweep", "--out", "s", *model, "--beta", "1", "2"]) == 0
    betas = [pv.load_run(f"s/beta={beta}").summary["beta"] for beta in (1, 2)]
    assert betas == [1, 2]
