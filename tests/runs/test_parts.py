"""The parts of an evaluation: what is declared, measured and shown agrees."""

import json
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.pages.wording import Row
from pyro_vae.runs.evaluation import check_figures
from pyro_vae.runs.parts import EFFORT_KEYS, PARTS
from tests.support.runs import quick


@pytest.mark.parametrize("name", PARTS)
def test_what_measures_a_part_is_there(name):
    assert PARTS[name].measure.__name__ == f"measure_{name}"
    assert PARTS[name].measure.__module__ == f"pyro_vae.runs.measuring.{name}"


@pytest.mark.parametrize("name", PARTS)
def test_a_part_says_what_it_is(name):
    part = PARTS[name]
    assert part.title and part.look.endswith(".") and part.summary
    assert part.terms and all(meaning.endswith(".") for _, meaning in part.terms)
    keys = [row.key for row in part.rows]
    assert len(keys) == len(set(keys)) and not set(keys) & set(EFFORT_KEYS)
    shown = [row for row in part.rows if row.kind != "data"]
    assert shown and all(row.name for row in shown)
    assert all(row.kind in ("figure", "words", "data") for row in part.rows)


def test_floors_of_comparisons_are_rows():
    rows = {f"{name}.{row.key}": row for name, part in PARTS.items() for row in part.rows}
    floors = [row.compared.floor for row in rows.values() if row.compared and row.compared.floor]
    assert floors == ["samples.frechet_distance_real", "factors.label_chance"]
    assert all(rows[floor].name for floor in floors)


def test_figures_that_their_part_declares_are_accepted():
    check_figures("samples", {"images": 60, "verdict": {"word": "good", "reason": "since"}})
    estimate = {"mean": 1.0, "standard_error": 0.1}
    check_figures("likelihood", {"ladder": {"nats": {"elbo": estimate}}, "seed": 0, "quick": True})
    check_figures("posterior", {"coverage": {"0.5": [0.4, 0.6]}})


@pytest.mark.parametrize(
    "name, figures, message",
    [
        ("samples", {"image": 60}, "samples: image is declared in no row of the part"),
        ("samples", {"verdict": {"words": "good"}}, "samples: verdict.words is declared in no row"),
        (
            "likelihood",
            {"ladder": {"nats": {"elbow": {"mean": 1.0, "standard_error": 0.1}}}},
            "likelihood: ladder.nats.elbow is declared in no row",
        ),
        ("latents", {"k_hat": 0.5}, "latents: k_hat is declared in no row"),
    ],
)
def test_figures_that_no_row_declares_are_refused(name, figures, message):
    with pytest.raises(RuntimeError, match=message):
        check_figures(name, figures)


@pytest.mark.slow
def test_an_evaluation_refuses_what_no_row_declares(elsewhere, no_pictures, monkeypatch):
    """Nothing of the part is written then."""
    run = pv.train(quick(epochs=1), "a")
    monkeypatch.setattr(
        "pyro_vae.runs.measuring.limit.measure_limit", lambda subject: {"p_valeu": 0.5}
    )
    with pytest.raises(RuntimeError, match="limit: p_valeu is declared in no row of the part"):
        pv.evaluate(run, ["limit"], quick=True)
    assert not Path("a/evaluation.json").exists()


@pytest.mark.slow
def test_a_part_that_does_not_apply_is_null(elsewhere, no_pictures, monkeypatch):
    run = pv.train(quick(epochs=1), "a")
    monkeypatch.setattr("pyro_vae.runs.measuring.limit.measure_limit", lambda subject: {})
    assert pv.evaluate(run, ["limit"], quick=True) == {"limit": None}
    assert json.loads(Path("a/evaluation.json").read_text()) == {"limit": None}


def test_rows_of_data_have_no_name_to_show():
    assert all(row == Row(row.key, kind="data") for part in PARTS.values() for row in part.rows
               if row.kind == "data")  # fmt: skip
