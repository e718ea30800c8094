"""`report.html` of a run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.measures.part import VERSION
from pyro_vae.runs.report import write_report
from pyro_vae.sweeps.observer import SweepObserver, fail
from tests.support.pages import Page
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.slow
def test_the_report_of_an_evaluated_run(finished_run):
    """It shows what training left, and needs nothing beside it."""
    page, test = Page("a/report.html"), pv.Run("a").summary["test"]
    sources = [a["src"] for tag, a in page.tags if "src" in a]
    assert sources and all(s.startswith(("data:image/", "data:video/")) for s in sources)
    for drawn in page.figures.values():
        addresses = re.findall(r'(?:href|url)[=(]"?([^")]+)', drawn)
        assert all(address.startswith("#") for address in addresses)
    assert [page.count(tag) for tag in ("script", "link", "iframe", "svg", "a")] == [0] * 5
    shown = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert shown[:12] == [
        *("reconstructions", "samples", "latent map", "traversals", "interpolation"),
        *("elbo over epochs", "rate over epochs", "distortion over epochs"),
        *("rate of each latent component", "rate over variance of each component"),
        *("after epoch 1", "after epoch 2"),
    ]
    for heading in ("Learning curves", "Reconstructions and samples", "Progress"):
        assert heading in page.text
    for question in ("Has training converged?", "Does it generalise?", "Is the posterior right?"):
        assert question in page.text
    for shown in (f"{test['elbo_nats']:.2f}", f"{test['bits_per_dim']:.3f}", "latent_dim"):
        assert shown in page.text
    assert "pyro-vae train --config a/config.yaml" in page.text
    until, _, _ = page.text.partition("What do the latents do?")
    posterior = until.rpartition("Is the posterior right?")[2]
    shown, _, folded = posterior.partition("more figures")
    assert "calibration, p-value" in shown and "images of calibration" in folded
    assert "This answers what is not measured" not in page.text
    Path("a/evaluation.json").unlink()
    page = Page(write_report("a"))
    assert "This answers what is not measured: pyro-vae evaluate a --quick" in page.text


def test_the_report_of_an_autoencoder(copy_run):
    copy_run("a", model="autoencoder")
    Path("a/figures/samples.png").write_bytes(b"picture")
    page = Page(write_report("a"))
    shown = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert [alt for alt in shown if "over epochs" in alt] == ["distortion over epochs"]
    assert "An autoencoder was never trained to match that prior" in page.text
    assert "Latent components" not in page.text and "posterior right" not in page.text


def test_the_report_of_an_unfinished_run(copy_run, no_pictures):
    copy_run("a")
    Path("a/summary.json").unlink()
    assert main(["report", "a"]) == 0
    assert "Not finished: 2 of 2 epochs" in Page("a/report.html").text


def test_the_report_of_a_run_that_failed_before_it_was_built():
    with pytest.warns(UserWarning, match="failed: no such data"):
        fail(pv.Run("a", quick()), ValueError("no such data"), SweepObserver())
    assert "to be trained for 2 epochs on digits with Adam at 0.001, beta 1" in " ".join(
        Page(write_report("a")).text.split()
    )


def test_the_report_takes_names_as_text(no_pictures):
    np.save("<b>&.npy", np.random.default_rng(0).integers(256, size=(9, 4, 4), dtype=np.uint8))
    pv.train(quick(dataset="<b>&.npy"), "<i>&")
    page = Page(write_report("<i>&"))
    assert "<b>&: gaussian_shared_sigma VAE" in page.text
    assert "pyro-vae train --config '<i>&/config.yaml'" in page.text
    assert page.count("i") == 0


def test_cautions_stand_before_any_figure(copy_run, no_pictures):
    """That of training, and that of the evaluation."""
    copy_run("a", likelihood="bernoulli")
    assert "Bernoulli is no likelihood of 17 grey levels" in before_figures("a")
    copy_run("b")
    part = {"elbo_nats": -1.0, "ladder": {"warning": "chains are too short"}, "measures": VERSION}
    warned = {"likelihood": part}
    Path("b/evaluation.json").write_text(json.dumps(warned))
    write_report("b")
    assert "Chains are too short." in before_figures("b")


def before_figures(run):
    """The text of a run's report before the questions."""
    return Path(f"{run}/report.html").read_text().partition('<ul class="questions">')[0]


def test_what_earlier_weights_measured_answers_no_question(copy_run, no_pictures):
    copy_run("a")
    verdict = {"word": "well regularised", "reason": "so it is", "borderline": False}
    mark = pv.Run("a").fingerprint
    for about, answered in (
        ({"checkpoint": "of other weights", "measures": VERSION}, False),
        ({"checkpoint": mark, "measures": VERSION - 1}, False),
        ({"checkpoint": mark}, False),
        ({"checkpoint": mark, "measures": VERSION}, True),
    ):
        part = {"verdict": verdict} | about
        Path("a/evaluation.json").write_text(json.dumps({"samples": part}))
        page = Path(write_report("a")).read_text()
        assert ("Well regularised: so it is." in page) == answered
        assert ("trained on since then" in page) != answered
