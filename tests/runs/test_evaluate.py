"""`evaluate` from the outside: every part of it on small runs, and what it says."""

import io
import json
import math
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.pages.wording import shown_rows
from pyro_vae.runs.parts import PARTS
from tests.support import seams
from tests.support.pages import Page
from tests.support.runs import TINY, contents

pytestmark = pytest.mark.slow
PICTURES = {picture.name for part in PARTS.values() for picture in part.pictures}
TRUE_FACTORS = {
    "MIG",
    "DCI disentanglement",
    "DCI completeness",
    "DCI informativeness",
    "SAP",
    "beta-VAE score",
    "FactorVAE score",
}
MAY_BE_MISSING = {  # on a run without true factors, validation images, idle components or warnings
    "likelihood": {"warning", "log P(x), validation"},
    "latents": {"log P lost without them"},
    "factors": TRUE_FACTORS,
}


@pytest.fixture(autouse=True)
def tiny_effort(elsewhere, no_pictures, monkeypatch):
    """Few images and draws; and no pictures, but of the one run whose folder is looked at."""
    seams.evaluate_with(TINY, monkeypatch.setattr)


def trained(name="a", **options):
    """A run of 16 hidden units and three components that has learned a little."""
    settings = {"hidden": (16,), "latent_dim": 3, "epochs": 3, "learning_rate": 0.01}
    return pv.train(pv.RunConfig(**(settings | options)), name)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The folder of a run that was evaluated by the command, and what the command printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.chdir(tmp_path_factory.mktemp("evaluated"))
        seams.evaluate_with(TINY, patch.setattr)
        run = trained()
        out.truncate(0)
        assert main(["evaluate", "a", "--quick"]) == 0
        assert pv.load_run("a").summary == run.summary
        return Path("a").resolve(), out.getvalue()


def test_every_part_of_a_vae_has_figures(evaluated):
    folder, out = evaluated
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert list(evaluation) == list(PARTS)
    for name, part in PARTS.items():
        shown = {row.name for row in shown_rows(part.rows, evaluation[name])}
        declared = {row.name for row in part.rows if row.kind != "data"}
        assert declared - shown <= MAY_BE_MISSING.get(name, set())
        assert (evaluation[name]["seed"], evaluation[name]["quick"]) == (0, True)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_printed_and_stands_on_the_page(evaluated, name):
    folder, out = evaluated
    part, page = PARTS[name], Page(folder / "report.html")
    figures = json.loads((folder / "evaluation.json").read_text())[name]
    printed = " ".join(out.split())
    assert part.title in out and part.title in page.text and part.look in page.text
    for row in shown_rows(part.rows, figures):
        assert f"{row.name} {row.value}" in printed
        assert row.name in page.text and row.value in page.text
    assert all(picture.look in page.text for picture in part.pictures)


def test_what_an_evaluation_leaves_beside_its_figures(evaluated):
    folder, _ = evaluated
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {f"{name}.png" for name in PICTURES} <= names
    assert {"limiting_distribution.mp4", "limiting_distribution.gif"} <= names
    assert (folder / "posterior.nc").exists() and (folder / "likelihood.csv").exists()
    page = Page(folder / "report.html")
    videos = [attributes["src"] for tag, attributes in page.tags if tag == "video"]
    assert len(videos) == 1 and videos[0].startswith("data:video/mp4;base64,")


# --- the likelihood -------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_functions(digits):
    run, images = trained(), digits.test.images[:60]
    part = pv.evaluate(run, ["likelihood"], quick=True, num_samples=7, seed=3)["likelihood"]
    terms = elbo_terms(run.vae, images, seed=3)
    bits = bits_per_dim(importance_bound(run.vae, images, 7, seed=3).log_prob, run.vae.image_shape)
    columns = {
        "elbo_nats": terms.elbo,
        "rate_nats": terms.rate,
        "distortion_nats": terms.distortion,
        "bits_per_dim": bits,
    }
    for key, values in columns.items():
        assert part[key]["mean"] == pytest.approx(values.mean().item(), rel=1e-5)
        expected = values.std().item() / np.sqrt(60)
        assert part[key]["standard_error"] == pytest.approx(expected, rel=1e-4)
    assert part["bits_per_dim_samples"] == 7 and part["seed"] == 3 and part["quick"]


def test_the_ladder_is_that_of_the_functions(digits):
    run, images = trained(), digits.test.images[:4]
    part = pv.evaluate(run, ["likelihood"], quick=True, num_samples=7, seed=3)["likelihood"]
    bound, ladder = importance_bound(run.vae, images, 7, 3).log_prob, part["ladder"]
    rungs = ladder["nats"]
    assert rungs["importance_bound"]["mean"] == pytest.approx(bound.mean().item(), rel=1e-5)
    bits = ladder["bits_per_dim"]["importance_bound"]["mean"]
    assert bits == pytest.approx(-bound.mean().item() / (64 * math.log(2)), rel=1e-5)
    means = {name: rung["mean"] for name, rung in rungs.items() if not name.startswith("elbo")}
    assert set(means) == {"importance_bound", "ais_from_prior", "ais_from_posterior"}
    assert ladder["log_prob_source"] == max(means, key=means.get)
    assert ladder["log_prob_nats"]["mean"] == max(means.values())
    gap = ladder["log_prob_nats"]["mean"] - rungs["elbo_refitted"]["mean"]
    assert ladder["approximation_gap_nats"]["mean"] == pytest.approx(gap, rel=1e-5)
    header, *rows = [line.split(",") for line in Path("a/likelihood.csv").read_text().splitlines()]
    assert header == ["image", *rungs] and len(rows) == 4  # every image by itself
    column = header.index("importance_bound")
    assert [float(row[column]) for row in rows] == pytest.approx(bound.tolist(), rel=1e-5)


def test_an_evaluation_says_when_the_importance_bound_fails(monkeypatch):
    """A small fixed sigma and a spoilt encoder: the ladder carries a warning, in words."""
    run = trained(likelihood="gaussian_fixed_sigma", sigma=0.05, epochs=30)
    with torch.no_grad():
        for p in run.vae.encoder.parameters():
            p.mul_(0.7)
    effort = replace(TINY, images=4, temperatures=100, chains=8)
    seams.evaluate_with(effort, monkeypatch.setattr)
    ladder = pv.evaluate(run, ["likelihood"], quick=True)["likelihood"]["ladder"]
    missed = ladder["nats"]["ais_from_prior"]["mean"] - ladder["nats"]["importance_bound"]["mean"]
    assert missed > 5 and "misses" in ladder["warning"]
    assert ladder["log_prob_source"] in ("ais_from_prior", "ais_from_posterior")
    assert f"warning: {ladder['warning']}" in Page("a/report.html").text


# --- runs that lack something ---------------------------------------------------------------------


def test_an_autoencoder_is_measured_where_it_can_be():
    evaluation = pv.evaluate(trained(model="autoencoder"), quick=True)
    assert evaluation["posterior"] is None and evaluation["latents"] is None
    likelihood = evaluation["likelihood"]
    undefined = ("elbo_nats", "rate_nats", "bits_per_dim", "collapsed_units")
    assert [likelihood[key] for key in undefined] == [None] * 4
    assert likelihood["distortion_nats"]["mean"] and "ladder" not in likelihood
    assert evaluation["samples"]["verdict"]["word"] and evaluation["limit"]["p_value"] < 1e-6
    factors = evaluation["factors"]
    assert factors["label_accuracy"]["mean"] > 3 * factors["label_chance"]


def test_what_is_no_likelihood_stands_on_no_ladder():
    run = trained(likelihood="bernoulli")
    evaluation = pv.evaluate(run, ["likelihood", "posterior"], quick=True)
    likelihood, posterior = evaluation["likelihood"], evaluation["posterior"]
    assert likelihood["bits_per_dim"] is None and "ladder" not in likelihood
    assert "calibration_p_value" not in posterior
    assert posterior["k_hat"]["mean"] is not None


def test_true_factors_are_scored():
    run = trained(dataset="sprites", likelihood="bernoulli", epochs=1)
    factors = pv.evaluate(run, ["factors"], quick=True)["factors"]
    assert factors["factor_names"] == ["shape", "scale", "rotation", "x", "y"]
    for key in ("mutual_information_gap", "disentanglement", "completeness"):
        assert 0 <= factors[key] <= 1
    assert factors["factor_vae_score"]["standard_error"] > 0


def test_images_without_labels_need_no_classifier():
    rng = np.random.default_rng(0)
    np.save("mine.npy", rng.integers(256, size=(80, 8, 8), dtype=np.uint8))
    run = trained(dataset="mine.npy", epochs=1)
    evaluation = pv.evaluate(run, ["samples", "factors"], quick=True)
    means, drawn = (
        evaluation["samples"][f"sharpness_ratio_{n}"] for n in ("sample_means", "samples")
    )
    assert means["mean"] < 0.5 < drawn["mean"], "draws have the noise of the likelihood"
    assert "frechet_distance_samples" not in evaluation["samples"]
    assert "label_accuracy" not in evaluation["factors"]


# --- the verdict ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data folder for all runs, since the classifier of their samples is kept there."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    "beta, word",
    [(1e-4, "under-regularised"), (0.5, "well regularised"), (100.0, "over-regularised")],
)
def test_the_verdict_tells_betas_apart(data_dir, beta, word):
    """On the digits: a beta of 100 leaves nothing, one of 1e-4 leaves the prior behind."""
    family = {"likelihood": "gaussian_fixed_sigma", "hidden": (128,), "latent_dim": 8}
    run = trained(**family, epochs=40, beta=beta)
    samples = pv.evaluate(run, ["samples"], quick=True, data_dir=data_dir)["samples"]
    assert samples["verdict"]["word"] == word


# --- how it is called -----------------------------------------------------------------------------


def test_only_some_parts_leave_the_others_as_they_are():
    run = trained()
    first = pv.evaluate(run, ["latents"], quick=True)
    second = pv.evaluate(run, ["posterior", "factors"], quick=True, seed=1)
    assert list(first) == ["latents"] and second["latents"] == first["latents"]
    assert list(second) == ["latents", "posterior", "factors"]
    assert [part["seed"] for part in second.values()] == [0, 1, 1]


def test_an_unknown_part_is_refused_before_anything_is_measured():
    run = trained()
    before = contents("a")
    with pytest.raises(ValueError, match="only: unknown name 'latent'; did you mean 'latents'"):
        pv.evaluate(run, ["latents", "latent"])
    assert contents("a") == before


def test_parts_say_that_they_begin_and_count():
    seen, run = [], trained()

    def note(part, done, total, unit):
        seen.append((part, done, total, unit))

    pv.evaluate(run, ["likelihood", "posterior", "limit"], quick=True, progress=note)
    for part, unit in {"likelihood": "temperatures", "posterior": "NUTS steps"}.items():
        first, *counted = [what for name, *what in seen if name == part]
        assert first == [0, 0, ""] and all(0 < done <= total for done, total, _ in counted)
        assert any(done == total for done, total, what in counted if what == unit)
    assert seen[-1] == ("limit", 0, 0, "")


def test_an_evaluation_gives_threads_and_gradients_back():
    """Even when it fails: the model can be trained on, with as many threads as before."""
    run, seen, before = trained(), [], torch.get_num_threads()
    first, *others = run.vae.parameters()
    first.requires_grad_(False)

    def note(part, *count):
        seen.append((torch.get_num_threads(), any(w.requires_grad for w in others)))
        raise KeyboardInterrupt

    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            pv.evaluate(run, ["latents"], quick=True, progress=note)
        assert seen == [(1, False)] and torch.get_num_threads() == 2
        assert not first.requires_grad and all(w.requires_grad for w in others)
    finally:
        torch.set_num_threads(before)
