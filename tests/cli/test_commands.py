"""The commands that measure and show a finished run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.measures import PARTS
from pyro_vae.pages.wording import shown_rows
from tests.support import seams
from tests.support.runs import TINY, quick

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def sampled(*options):
    """Nine samples of the run `a` as an array."""
    assert main(["sample", "a", "--count", "9", "--out", "x.npy", *options]) == 0
    return np.load("x.npy")


@pytest.mark.slow
def test_samples_are_a_picture(capsys):
    pv.train(quick(), "a")
    assert main(["sample", "a"]) == 0
    assert min(Image.open("a/figures/samples_seed0.png").size) > 250
    assert capsys.readouterr().out == "64 images in a/figures/samples_seed0.png\n"


@pytest.mark.slow
def test_samples_are_an_array_of_the_models_expected_images():
    run = pv.train(quick(), "a")
    x = sampled()
    assert x.shape == (9, 1, 8, 8) and x.min() >= 0 and x.max() <= 1
    torch.manual_seed(0)
    assert np.abs(x - run.vae.sample(9).numpy()).max() < 1e-6


@pytest.mark.slow
def test_samples_repeat_with_the_seed():
    pv.train(quick(), "a")
    assert (sampled() == sampled()).all()
    assert (sampled() != sampled("--seed", "1")).any()


@pytest.mark.slow
def test_drawn_pixels_are_grey_levels_as_in_the_data():
    pv.train(quick(), "a")
    levels = sampled("--pixels", "drawn") * 16
    assert np.abs(levels - levels.round()).max() < 1e-5
    expected = sampled() * 16
    assert np.abs(expected - expected.round()).max() > 0.1


@pytest.mark.slow
def test_drawn_pixels_of_what_is_no_likelihood():
    pv.train(quick(likelihood="bernoulli"), "a")
    assert set(np.unique(sampled("--pixels", "drawn"))) == {0, 1}


@pytest.mark.slow
def test_an_evaluation_is_printed_and_stands_on_the_page(capsys, monkeypatch):
    seams.evaluate_with(TINY, monkeypatch.setattr)
    pv.train(quick(), "a")
    Path("a/report.html").unlink()
    assert main(["evaluate", "a", "--quick", "--only", "factors, latents"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "a: mean ± standard error over test images"
    assert lines[-1] == "Look at a/report.html" and Path("a/report.html").exists()
    titles = [line for line in lines[:-1] if not line.startswith("  ")]
    assert titles == [PARTS["factors"].title, PARTS["latents"].title]
    figures = json.loads(Path("a/evaluation.json").read_text())["factors"]
    rows = shown_rows(PARTS["factors"].rows, figures)
    for line, row in zip(lines[1 : 1 + len(rows)], rows, strict=True):
        assert line.startswith(f"  {row.name}") and row.value in line
