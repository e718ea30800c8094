"""The commands that measure and show a finished run, and those that list names."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.cli.finished import CHOICE, GROUPS
from pyro_vae.cli.main import main
from pyro_vae.likelihoods import LIKELIHOODS as FAMILIES
from pyro_vae.likelihoods import base
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import Subject
from pyro_vae.names import DATASETS, LIKELIHOODS
from pyro_vae.pages.wording import shown_rows
from tests.support import seams
from tests.support.house import ROOT
from tests.support.runs import TINY


def sampled(*options):
    """Nine samples of the run `a` as an array."""
    assert main(["sample", "a", "--count", "9", "--out", "x.npy", *options]) == 0
    return np.load("x.npy")


def test_samples_are_a_picture(copy_run, capsys):
    (copy_run() / "figures").mkdir(exist_ok=True)
    assert main(["sample", "a"]) == 0
    assert min(Image.open("a/figures/samples_seed0.png").size) > 250
    assert capsys.readouterr().out == "64 images in a/figures/samples_seed0.png\n"


def test_samples_are_an_array_of_the_models_expected_images(copy_run):
    run = pv.load_run(copy_run())
    x = sampled()
    assert x.shape == (9, 1, 8, 8) and x.min() >= 0 and x.max() <= 1
    torch.manual_seed(0)
    assert np.abs(x - run.vae.sample(9).numpy()).max() < 1e-6
    assert (sampled() == x).all() and (sampled("--seed", "1") != x).any()


def test_drawn_pixels_are_grey_levels_as_in_the_data(copy_run):
    copy_run()
    levels = sampled("--pixels", "drawn") * 16
    assert np.abs(levels - levels.round()).max() < 1e-5
    expected = sampled() * 16
    assert np.abs(expected - expected.round()).max() > 0.1


def test_samples_of_a_density_of_codes(copy_run, digits):
    run = pv.load_run(copy_run())
    assert main(["sample", "a", "--codes", "gaussian", "--count", "4"]) == 0
    assert Path("a/figures/samples_gaussian_seed0.png").exists()
    for kind in ("gaussian", "mixture"):
        x = sampled("--codes", kind, "--seed", "2")
        fitted = Subject(run.vae, digits, seed=2).with_fitted_prior(kind)
        torch.manual_seed(2)
        assert np.abs(x - fitted.sample(9).numpy()).max() < 1e-6
        assert (sampled("--seed", "2") != x).any()


@pytest.mark.slow
def test_drawn_pixels_of_what_is_no_likelihood(copy_run):
    copy_run(likelihood="bernoulli")
    assert set(np.unique(sampled("--pixels", "drawn"))) == {0, 1}


@pytest.mark.slow
def test_an_evaluation_is_printed_and_stands_on_the_page(
    copy_run, no_pictures, capsys, monkeypatch
):
    seams.evaluate_with(TINY, monkeypatch.setattr)
    (copy_run() / "report.html").unlink()
    assert main(["evaluate", "--quick", "--only", "factors", "latents", "a"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "a: mean ± standard error over test images"
    assert lines[-1] == "Look at a/report.html" and Path("a/report.html").exists()
    titles = [line for line in lines[:-1] if not line.startswith("  ")]
    assert titles == [PARTS["factors"].title, PARTS["latents"].title]
    figures = json.loads(Path("a/evaluation.json").read_text())["factors"]
    rows = shown_rows(PARTS["factors"].rows, figures)
    for line, row in zip(lines[1 : 1 + len(rows)], rows, strict=True):
        assert line.startswith(f"  {row.name}") and row.value in line


# --- lists ----------------------------------------------------------------------------------------


def test_likelihoods_are_listed_by_the_data_that_they_are_for(capsys):
    assert main(["likelihoods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("Which to choose")
    shown = {line.split()[0]: line for line in lines[:place] if line.startswith("  ")}
    assert place == len(shown) + len(GROUPS)
    assert shown.keys() == LIKELIHOODS.keys()
    assert all(shown[name].endswith(f" {text}") for name, text in LIKELIHOODS.items())
    assert max(map(len, lines)) <= 80
    for heading, names in GROUPS.items():
        for name in names:
            family = FAMILIES[name]
            assert (family.scored_on("density", False) == "none") == (heading == "Binary images")
            assert issubclass(family, base.LevelMass) == ("probability" in heading), name


def test_the_bits_of_families_are_those_of_the_results():
    cells = pd.read_csv(ROOT / "results" / "digits" / "cells.csv").query("beta == 1")
    means = -cells.groupby("likelihood").test_ais.mean() / 64 / math.log(2)
    normals = [name for name in means.index if name.startswith("gaussian")]
    single = ["categorical", "continuous_bernoulli"]
    best = means.index.difference([*normals, *single])
    shown = " ".join(CHOICE.split())
    for names in (best, normals):
        assert f"{means[names].min():.2f} to {means[names].max():.2f}" in shown
    assert all(f"{name} {means[name]:.2f}" in shown for name in single)


def test_datasets(capsys):
    assert main(["datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(DATASETS)
    assert all(line.endswith(text) for line, text in zip(lines, DATASETS.values()))
    assert main(["datasets", "digits"]) == 0
    expected = "digits is complete: 1437 training and 360 test images 1x8x8\n"
    assert capsys.readouterr().out == expected
