"""`evaluate`: what it leaves in a run folder, and what it does to the model and the machine."""

import json
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from xarray import open_datatree

import pyro_vae as pv
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import VERSION, Measured
from pyro_vae.pages.wording import shown_rows
from pyro_vae.runs import evaluate
from tests.support import seams
from tests.support.pages import Page
from tests.support.runs import TINY, contents

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
    "likelihood": {
        "warning",
        "log P(x), validation",
        "bias of AIS, validation",
        "images of that, validation",
    },
    "latents": {"log P lost without them"},
    "factors": TRUE_FACTORS,
}


@pytest.fixture
def run(copy_run, no_pictures, monkeypatch):
    """A run that can be measured in seconds."""
    seams.evaluate_with(TINY, monkeypatch.setattr)
    return pv.load_run(copy_run("a"))


# --- what it leaves -------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_part_has_figures_and_stands_on_the_page(finished_run):
    evaluation, page = pv.load_run("a").evaluation, Page("a/report.html")
    assert list(evaluation) == list(PARTS)
    for name, part in PARTS.items():
        rows = shown_rows(part.rows, evaluation[name])
        missing = {row.name for row in part.rows} - {row.name for row in rows}
        assert missing <= MAY_BE_MISSING.get(name, set())
        assert (evaluation[name]["seed"], evaluation[name]["quick"]) == (0, True)
        assert evaluation[name]["checkpoint"] == pv.load_run("a").fingerprint
        assert evaluation[name]["measures"] == VERSION
        assert part.title in page.text and part.look in page.text
        assert all(row.name in page.text and row.value in page.text for row in rows)
        assert all(caption in page.text for caption in part.pictures.values())
    videos = [attributes["src"] for tag, attributes in page.tags if tag == "video"]
    assert len(videos) == 1 and videos[0].startswith("data:video/mp4;base64,")


@pytest.mark.slow
def test_what_an_evaluation_leaves_beside_its_figures(finished_run):
    there = {path.name for path in Path("a/figures").iterdir()}
    pictures = [name for part in PARTS.values() for name in part.pictures]
    assert {f"{name}.png" for name in pictures} <= there
    assert {f"{name}.svg" for name in pictures if name != "nearest"} <= there  # images have none
    assert {f"limiting_distribution{e}" for e in (".mp4", ".gif", "_poster.png")} <= there
    header, *rows = [line.split(",") for line in Path("a/likelihood.csv").read_text().splitlines()]
    ladder = pv.load_run("a").evaluation["likelihood"]["ladder"]
    of_chains = ("standard_error", "bias", "deviation", "effective_sample_size")
    of_chains = [f"ais_from_posterior_{name}" for name in of_chains]
    fitted = ["importance_bound_gaussian", "importance_bound_mixture"]
    assert header == ["image", *ladder["nats"], *of_chains, *fitted]
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    for column, name in enumerate(ladder["nats"], start=1):
        mean = sum(float(row[column]) for row in rows) / 4
        assert mean == pytest.approx(ladder["nats"][name]["mean"])
    tree = open_datatree("a/posterior.nc")
    assert list(tree.children) == ["posterior", "variational"]


def test_what_a_part_found_is_written(run, monkeypatch):
    """A warning of its own stands among what to know first."""
    found = Measured(
        {"number": torch.tensor(2.0).item(), "ladder": {"warning": "the chains are short"}},
        columns={"validation_likelihood": {"b": torch.tensor([1.5, 2.5])}},
        drawings={"ladder": Figure(), "clip.gif": b"GIF"},
    )
    part = PARTS["likelihood"]
    monkeypatch.setitem(evaluate.PARTS, "likelihood", _replaced(part, found))
    written = pv.evaluate(run, ["likelihood"], seed=5)["likelihood"]
    assert written["number"] == 2 and (written["seed"], written["quick"]) == (5, False)
    lines = Path("a/validation_likelihood.csv").read_text().splitlines()
    assert lines == ["image,b", "0,1.5", "1,2.5"]
    assert Path("a/figures/clip.gif").read_bytes() == b"GIF"
    assert "The chains are short." in Page("a/report.html").text


def test_a_part_that_does_not_apply_is_none(run, monkeypatch):
    monkeypatch.setitem(evaluate.PARTS, "limit", _replaced(PARTS["limit"], Measured()))
    assert pv.evaluate(run, ["limit"])["limit"] is None


def _replaced(part, found):
    """A part that finds this."""
    return type(part)(**(vars(part) | {"measure": lambda subject: found}))


def test_only_some_parts_leave_the_others_as_they_are(run):
    first = pv.evaluate(run, ["latents"], quick=True)
    second = pv.evaluate(run, ["decoder", "factors"], quick=True, seed=1)
    assert list(first) == ["latents"] and second["latents"] == first["latents"]
    assert list(second) == ["latents", "decoder", "factors"]
    assert [part["seed"] for part in second.values()] == [0, 1, 1]
    assert json.loads(Path("a/evaluation.json").read_text()) == second


def test_the_report_is_written_once(run, monkeypatch):
    written = []
    monkeypatch.setattr(evaluate, "write_report", written.append)
    pv.evaluate(run, ["latents", "decoder"], quick=True)
    assert [list(of.evaluation) for of in written] == [["latents", "decoder"]]


def test_an_unknown_part_is_refused_before_anything_is_measured(run):
    before = contents("a")
    with pytest.raises(ValueError, match="only: unknown name 'latent'; did you mean 'latents'"):
        pv.evaluate(run, ["latents", "latent"])
    assert contents("a") == before


# --- how it is called -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_draws_of_the_bound_are_those_that_are_asked_for(run):
    part = pv.evaluate(run, ["likelihood"], quick=True, num_samples=7)["likelihood"]
    assert part["bits_per_dim_samples"] == 7


@pytest.mark.slow
def test_parts_say_that_they_begin_and_count(run):
    seen = []
    pv.evaluate(run, ["likelihood", "limit"], quick=True, progress=lambda *what: seen.append(what))
    first, *counted = [what for name, *what in seen if name == "likelihood"]
    cost = (
        "20 draws of each of up to 60 images; 4 by fits of 20 steps and 4 chains of 20 temperatures"
    )
    assert first == [0, 0, cost] and all(0 < done <= total for done, total, _ in counted)
    assert any(done == total for done, total, unit in counted if unit == "temperatures")
    assert seen[-1] == ("limit", 0, 0, "64 chains, and their video")


def test_an_evaluation_gives_threads_and_gradients_back(run):
    """Even when it fails: the model can be trained on, with as many threads as before."""
    seen, before = [], torch.get_num_threads()
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
