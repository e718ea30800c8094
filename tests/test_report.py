"""What is made of a finished run: estimates, samples, and the page that shows it."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.evaluation.estimates import estimate
from pyro_vae.evaluation.measures import measure
from pyro_vae.runs.report import write_report

QUICK = {"hidden": (8,), "latent_dim": 3, "epochs": 2}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Page(HTMLParser):
    """Collects a page's tags, and sees that each is closed."""

    VOID = ("meta", "img", "br", "path", "use")

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(Path(path).read_text())
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


# --- evaluation -------------------------------------------------------------------------------------


def test_an_estimate_is_a_mean_with_its_standard_error():
    values = torch.randn(10_000) * 3 + 7
    mean, error = estimate(values)
    assert mean == pytest.approx(values.mean().item()) and error == pytest.approx(0.03, rel=0.05)
    assert np.isnan(estimate(values[:1]).standard_error)


def test_more_samples_tighten_the_bound():
    run = pv.train(pv.RunConfig(**(QUICK | {"epochs": 20, "learning_rate": 0.01})), "a")
    images = pv.load_dataset("digits").test.images
    few, many = (measure(run.vae, images, 17, k)["bits_per_dim"] for k in (1, 50))
    assert many.mean < few.mean


# --- samples ------------------------------------------------------------------------------------------


def test_samples_are_a_picture_or_an_array(capsys):
    run = pv.train(pv.RunConfig(**QUICK), "a")
    assert main(["sample", "a"]) == 0
    assert min(Image.open("a/figures/samples_seed0.png").size) > 250
    for name, options in [
        ("x", []), ("same", []), ("other", ["--seed", "1"]), ("drawn", ["--pixels", "drawn"])
    ]:  # fmt: skip
        assert main(["sample", "a", "--count", "9", "--out", f"{name}.npy", *options]) == 0
    x, same, other, drawn = (np.load(f"{n}.npy") for n in ("x", "same", "other", "drawn"))
    assert x.shape == (9, 1, 8, 8) and x.min() >= 0 and x.max() <= 1
    assert (x == same).all() and (x != other).any()
    levels = drawn * 16
    assert np.abs(levels - levels.round()).max() < 1e-5  # grey levels, as in the data
    torch.manual_seed(0)
    assert np.abs(x - run.vae.sample(9).numpy()).max() < 1e-6
    assert capsys.readouterr().out.splitlines()[-1] == "9 images in drawn.npy"


def test_drawn_pixels_of_what_is_no_likelihood():
    pv.train(pv.RunConfig(**QUICK, likelihood="bernoulli"), "a")
    assert main(["sample", "a", "--pixels", "drawn", "--out", "x.npy"]) == 0
    assert set(np.unique(np.load("x.npy"))) == {0, 1}


# --- the page -------------------------------------------------------------------------------------------


def test_the_report_needs_nothing_beside_it():
    run = pv.train(pv.RunConfig(**QUICK), "a")
    page = Page("a/report.html")
    sources = [a["src"] for tag, a in page.tags if "src" in a]
    assert len(sources) == 4 and all(s.startswith("data:image/png;base64,") for s in sources)
    assert not [a for tag, a in page.tags if tag in ("script", "link", "iframe")]
    addresses = re.findall(r'(?:href|url)[=(]"?([^")]+)', Path("a/report.html").read_text())
    assert all(address.startswith("#") for address in addresses)
    assert [tag for tag, _ in page.tags].count("svg") == 5
    for heading in ("Learning curves", "Reconstructions", "Samples", "KL per", "Progress"):
        assert heading in page.text
    assert page.text.count("Look ") >= 5
    test = run.summary["test"]
    for shown in (f"{test['elbo_nats']:.2f}", f"{test['bits_per_dim']:.3f}", "latent_dim"):
        assert shown in page.text
    assert all("alt" in a for tag, a in page.tags if tag == "img")
    assert all("aria-label" in a for tag, a in page.tags if tag == "svg")


def test_the_report_of_an_autoencoder():
    pv.train(pv.RunConfig(**QUICK, model="autoencoder"), "a")
    page = Page("a/report.html")
    assert [tag for tag, _ in page.tags].count("svg") == 1  # the distortion
    assert "never heard of that prior" in page.text and "KL per" not in page.text


def test_the_report_of_a_run_that_goes_on():
    pv.train(pv.RunConfig(**QUICK), "a")
    Path("a/summary.json").unlink()
    assert main(["report", "a"]) == 0
    assert "Not finished: 2 of 2 epochs" in Page("a/report.html").text


def test_the_report_takes_names_as_text():
    np.save("<b>&.npy", np.random.default_rng(0).integers(256, size=(9, 4, 4), dtype=np.uint8))
    pv.train(pv.RunConfig(dataset="<b>&.npy", **QUICK), "<i>")
    page = Page(write_report("<i>"))
    assert "<b>&: gaussian_shared_sigma VAE" in page.text
    assert not [tag for tag, _ in page.tags if tag in ("b", "i") and tag == "i"]


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m pyro_vae datasets | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ)
    assert done.stdout.startswith("digits ") and done.stderr == ""
