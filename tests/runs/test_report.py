"""`report.html` of a run."""

import re
from pathlib import Path

import numpy as np
import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.runs.report import write_report
from tests.support.pages import Page
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.slow
def test_the_report_needs_nothing_beside_it():
    pv.train(quick(), "a")
    page = Page("a/report.html")
    sources = [a["src"] for tag, a in page.tags if "src" in a]
    assert len(sources) == 4 and all(s.startswith("data:image/png;base64,") for s in sources)
    assert [page.count(tag) for tag in ("script", "link", "iframe")] == [0, 0, 0]
    addresses = re.findall(r'(?:href|url)[=(]"?([^")]+)', Path("a/report.html").read_text())
    assert addresses and all(address.startswith("#") for address in addresses)
    assert all("alt" in a for tag, a in page.tags if tag == "img")
    assert all("aria-label" in a for tag, a in page.tags if tag == "svg")


@pytest.mark.slow
def test_the_report_shows_what_training_left():
    run = pv.train(quick(), "a")
    page, test = Page("a/report.html"), run.summary["test"]
    assert page.count("svg") == 5  # three terms and two panels of the KL
    for heading in ("Learning curves", "Reconstructions", "Samples", "KL per", "Progress"):
        assert heading in page.text
    assert page.text.count("Look ") >= 5
    for shown in (f"{test['elbo_nats']:.2f}", f"{test['bits_per_dim']:.3f}", "latent_dim"):
        assert shown in page.text
    assert "pyro-vae train --config a/config.yaml" in page.text


@pytest.mark.slow
def test_the_report_of_an_autoencoder():
    pv.train(quick(model="autoencoder"), "a")
    page = Page("a/report.html")
    assert page.count("svg") == 1  # the distortion
    assert "An autoencoder was never trained to match that prior" in page.text
    assert "KL per" not in page.text


@pytest.mark.slow
def test_the_report_of_an_unfinished_run():
    pv.train(quick(), "a")
    Path("a/summary.json").unlink()
    assert main(["report", "a"]) == 0
    assert "Not finished: 2 of 2 epochs" in Page("a/report.html").text


def test_the_report_takes_names_as_text():
    np.save("<b>&.npy", np.random.default_rng(0).integers(256, size=(9, 4, 4), dtype=np.uint8))
    pv.train(quick(dataset="<b>&.npy"), "<i>&")
    page = Page(write_report("<i>&"))
    assert "<b>&: gaussian_shared_sigma VAE" in page.text
    assert "pyro-vae train --config <i>&/config.yaml" in page.text
    assert page.count("i") == 0
