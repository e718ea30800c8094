"""`evaluate` from the outside: every part of it on small runs, and what it says."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.pages.wording import SECTIONS, lookup, rows_of, shown
from pyro_vae.runs import evaluate as evaluations
from pyro_vae.runs import parts

TINY = parts.Effort(60, 4, 20, 20, 4, 20, 2, 30, 60, 64, 1500)
FIGURES = {picture.name for section in SECTIONS.values() for picture in section.pictures}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluations, "QUICK", TINY)


def trained(name, **options):
    settings = {"hidden": (16,), "latent_dim": 3, "epochs": 3, "learning_rate": 0.01}
    return pv.train(pv.RunConfig(**(settings | options)), name)


def test_every_part_of_a_vae(capsys):
    run = trained("a")
    assert main(["evaluate", "a", "--quick"]) == 0
    found = json.loads(Path("a/evaluation.json").read_text())
    assert list(found) == list(parts.PARTS) == list(SECTIONS) and all(found.values())
    names = {path.stem for path in Path("a/figures").iterdir()}
    assert names >= FIGURES and Path("a/posterior.nc").exists()
    assert {p.suffix for p in Path("a/figures").glob("limiting*")} == {".png", ".mp4", ".gif"}
    missing = {  # what this run has not: a warning, and true factors
        "likelihood": {"warning"}, "posterior": set(), "latents": set(), "limit": set(),
        "samples": set(), "factors": {"MIG", "DCI disentanglement", "DCI completeness",
        "DCI informativeness", "SAP", "beta-VAE score", "FactorVAE score"},
    }  # fmt: skip
    for name, section in SECTIONS.items():
        shown_rows = {row for row, _, _ in rows_of(name, found[name])}
        assert {row.name for row in section.rows} - shown_rows <= missing[name] | {
            "log P lost without them"
        }
    out = capsys.readouterr().out
    assert all(section.title in out for section in SECTIONS.values())
    assert max(map(len, out.splitlines())) <= 80
    page = Path("a/report.html").read_text()
    assert all(section.title in page for section in SECTIONS.values())
    assert all(p.look.split("'")[0] in page for s in SECTIONS.values() for p in s.pictures)
    assert "data:video/mp4;base64," in page
    assert pv.load_run("a").summary == run.summary


def test_the_figures_are_those_of_the_functions():
    run = trained("a")
    found = evaluations.evaluate(run, ["likelihood"], quick=True, num_samples=7, seed=3)
    found = found["likelihood"]
    images = pv.load_dataset("digits").test.images[:60]
    terms = elbo_terms(run.vae, images, seed=3)
    bits = bits_per_dim(importance_bound(run.vae, images, 7, seed=3), run.vae.image_shape)
    columns = {
        "elbo_nats": terms.elbo, "rate_nats": terms.rate, "distortion_nats": terms.distortion,
        "bits_per_dim": bits,
    }  # fmt: skip
    for key, values in columns.items():
        assert found[key]["mean"] == pytest.approx(values.mean().item(), rel=1e-5)
        expected = values.std().item() / np.sqrt(60)
        assert found[key]["standard_error"] == pytest.approx(expected, rel=1e-4)
    assert found["bits_per_dim_samples"] == 7 and found["seed"] == 3 and found["quick"]
    bound = importance_bound(run.vae, images[:4], 7, 3)
    rungs = found["ladder"]["nats"]
    assert rungs["importance_bound"]["mean"] == pytest.approx(bound.mean().item(), rel=1e-5)
    best = max(("importance_bound", "ais_from_prior", "ais_from_posterior"),
               key=lambda name: rungs[name]["mean"])  # fmt: skip
    assert found["ladder"]["log_prob_source"] == best
    rows = [line.split(",") for line in Path("a/likelihood.csv").read_text().splitlines()]
    assert rows[0] == ["image", *rungs] and len(rows) == 5  # every image by itself
    assert [float(row[3]) for row in rows[1:]] == pytest.approx(bound.tolist(), rel=1e-5)
    bits = found["ladder"]["bits_per_dim"]["importance_bound"]["mean"]
    assert bits == pytest.approx(-bound.mean().item() / (64 * math.log(2)), rel=1e-5)


def test_only_keeps_what_was_measured_before():
    run = trained("a")
    first = evaluations.evaluate(run, ["latents"], quick=True)
    second = evaluations.evaluate(run, ["limit", "samples"], quick=True)
    assert list(first) == ["latents"] and second["latents"] == first["latents"]
    assert list(second) == ["latents", "limit", "samples"]
    with pytest.raises(ValueError, match="only: unknown name 'latent'; did you mean 'latents'"):
        evaluations.evaluate(run, ["latent"])


def test_the_progress_goes_up_to_one():
    seen = []
    run = trained("a")
    evaluations.evaluate(
        run, ["likelihood"], quick=True, progress=lambda part, done: seen.append((part, done))
    )
    assert seen[0] == ("likelihood", 0.0) and seen[-1] == ("likelihood", 1.0) and len(seen) > 10
    assert all(0 <= done <= 1 for _, done in seen)


def test_an_autoencoder_is_measured_where_it_can_be():
    found = evaluations.evaluate(trained("a", model="autoencoder"), quick=True)
    assert found["posterior"] is None and found["latents"] is None
    likelihood = found["likelihood"]
    undefined = ("elbo_nats", "rate_nats", "bits_per_dim", "collapsed_units")
    assert [likelihood[key] for key in undefined] == [None] * 4
    assert likelihood["distortion_nats"]["mean"] and "ladder" not in likelihood
    assert found["samples"]["verdict"]["word"] and found["limit"]["p_value"] < 1e-6
    assert found["factors"]["label_accuracy"]["mean"] > 3 * found["factors"]["label_chance"]


def test_what_is_no_likelihood_stands_on_no_ladder():
    found = evaluations.evaluate(trained("a", likelihood="bernoulli"), quick=True)
    assert found["likelihood"]["bits_per_dim"] is None and "ladder" not in found["likelihood"]
    assert "calibration_p_value" not in found["posterior"]
    assert found["posterior"]["k_hat"]["mean"] is not None


def test_true_factors_are_scored():
    run = trained("a", dataset="sprites", likelihood="bernoulli", epochs=1)
    found = evaluations.evaluate(run, ["factors"], quick=True)["factors"]
    assert found["factor_names"] == ["shape", "scale", "rotation", "x", "y"]
    for key in ("mutual_information_gap", "disentanglement", "completeness"):
        assert 0 <= found[key] <= 1
    assert found["factor_vae_score"]["standard_error"] > 0


def test_images_without_labels_need_no_classifier():
    rng = np.random.default_rng(0)
    np.save("mine.npy", rng.integers(256, size=(80, 8, 8), dtype=np.uint8))
    run = trained("a", dataset="mine.npy", epochs=1)
    found = evaluations.evaluate(run, ["samples", "factors"], quick=True)
    assert found["samples"]["sharpness_ratio_samples"]["mean"] < 1
    assert "frechet_distance_samples" not in found["samples"]
    assert "label_accuracy" not in found["factors"]


def test_the_verdict_tells_betas_apart():
    """On the digits: a beta of 100 leaves nothing, one of 1e-4 leaves the prior behind."""
    settings = {
        "hidden": (128,),
        "latent_dim": 8,
        "epochs": 40,
        "likelihood": "gaussian_fixed_sigma",
    }
    verdicts = {}
    for name, beta in (("small", 1e-4), ("right", 0.5), ("large", 100.0)):
        run = trained(name, **settings, beta=beta)
        samples = evaluations.evaluate(run, ["samples"], quick=True, data_dir="data")["samples"]
        verdicts[name] = samples["verdict"]["word"]
    assert verdicts == {
        "small": "under-regularised", "right": "well regularised", "large": "over-regularised"
    }  # fmt: skip


def test_the_evaluation_says_when_the_importance_bound_fails(monkeypatch):
    """A small fixed sigma and a spoilt encoder: the ladder carries a warning, in words."""
    run = trained("a", likelihood="gaussian_fixed_sigma", sigma=0.05, epochs=30)
    with torch.no_grad():
        for p in run.vae.encoder.parameters():
            p.mul_(0.7)
    monkeypatch.setattr(evaluations, "QUICK", parts.Effort(4, 4, 20, 100, 8, 20, 2, 30, 60, 64, 9))
    ladder = evaluations.evaluate(run, ["likelihood"], quick=True)["likelihood"]["ladder"]
    missed = ladder["nats"]["ais_from_prior"]["mean"] - ladder["nats"]["importance_bound"]["mean"]
    assert (
        missed > 5 and "misses" in ladder["warning"] and ladder["log_prob_source"] != "importance"
    )


# --- words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0.000"), (1.5, "1.500"), (123.456, "123.5"), (54321.0, "54321"), (1e-7, "1e-07"),
        (True, "yes"), (7, "7"), ("word", "word"),
        ({"mean": -1.25, "standard_error": 0.5}, "-1.250 ± 0.500"),
        ({"mean": 2.0, "standard_error": None}, "2.000"),
    ],
)  # fmt: skip
def test_figures_as_text(value, text):
    assert shown(value) == text


def test_lookup_follows_dots():
    part = {"a": {"b": {"c": 1}}}
    assert lookup(part, "a.b.c") == 1 and lookup(part, "a.x.c") is None
