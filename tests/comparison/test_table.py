"""The rows of runs, their lines and their ranks."""

import csv
import json
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.checkpoints import fingerprint
from pyro_vae.cli.main import main
from pyro_vae.comparison.table import (
    bits_column,
    csv_text,
    line_settings,
    lines,
    ranked,
    uneven_parts,
    varying,
)
from pyro_vae.measures.part import VERSION
from tests.support.made_up import group_of, make_up_run, make_up_study

pytestmark = pytest.mark.usefixtures("elsewhere")


def table_at(*folders):
    return group_of(*folders).table


def test_rows_have_what_varies_and_what_was_measured():
    samples = {
        "frechet_distance_samples": {"mean": 7.0, "standard_error": 0.5},
        "verdict": {"word": "well regularised", "reason": "both are good"},
        "explained_share": 0.75,
        "images": 100,
        "quick": True,
    }
    make_up_run("a", bits=1.5, beta=2.0, evaluation={"samples": samples, "latents": None})
    make_up_run("b", bits=None, beta=0.5, likelihood="bernoulli")
    first, second = pv.compare(["a", "b"])
    assert list(first)[:3] == ["folder", "likelihood", "beta"] and list(first) == list(second)
    assert first["folder"] == "a" and first["beta"] == 2 and second["likelihood"] == "bernoulli"
    assert first["test.bits_per_dim"] == 1.5 and second["test.bits_per_dim"] is None
    assert first["test.distortion_nats"] == 5 and first["parameters"] == 31
    assert first["samples.frechet_distance_samples"] == 7
    assert first["samples.frechet_distance_samples.standard_error"] == 0.5
    assert first["samples.explained_share"] == 0.75
    assert first["samples.verdict.word"] == "well regularised" and first["samples.quick"]
    assert second["samples.verdict.word"] is None
    assert "likelihood.elbo_nats" not in first and "best_epoch" not in first  # no run has it


def test_the_table_is_the_rows(no_pictures):
    assert main(["compare", make_up_study()]) == 0
    with open("study/compare.csv", newline="") as file:
        table = list(csv.DictReader(file))
    rows = pv.compare("study")
    assert len(table) == len(rows) == 12
    for line, row in zip(table, rows):
        assert line == {k: "" if v is None else str(v) for k, v in row.items()}


def test_settings_that_vary():
    for n, hidden in enumerate(((8,), (8, 4))):
        make_up_run(str(n), seed=n, hidden=hidden)
    table = table_at("0", "1")
    assert csv_text(table[["hidden"]]).splitlines() == ["folder,hidden", "0,8", '1,"8,4"']
    assert varying(table) == ["hidden", "seed"]
    assert varying(table[:1]) == []
    assert line_settings(table, "beta") == ["hidden"]
    assert [name for name, _ in lines(table, ["hidden"])] == ["hidden 8", "hidden 8,4"]
    assert [(name, line.index.tolist()) for name, line in lines(table, [])] == [("", ["0", "1"])]
    alike = table.assign(sigma=[0.3, 0.1 + 0.2])  # no seeds of one setting
    assert [name for name, _ in lines(alike, ["sigma"])] == ["sigma 0.3", "sigma 0.3"]


def test_the_ranking_leaves_out_what_has_no_bits():
    make_up_run("a", bits=3.0)
    make_up_run("b", bits=None, likelihood="bernoulli", elbo=99.0)
    make_up_run("c", bits=2.5, seed=1)
    table = ranked(table_at("a", "b", "c"))
    assert table["rank"].to_dict() == {"c": 1, "a": 2, "b": None}
    assert table.index.tolist() == ["c", "a", "b"]


@pytest.mark.parametrize("images, column", [(9, "likelihood"), (8, "test")])
def test_the_tighter_bound_ranks_where_all_have_it_at_one_effort(images, column):
    """Two bounds with other numbers of draws, or on other images, are not compared."""
    for name, bits, count in (("a", 1.0, 9), ("b", 2.0, images)):
        bound = {"bits_per_dim": {"mean": bits, "standard_error": 0.1}, "images": count}
        part = bound | {"bits_per_dim_samples": 500, "quick": False}
        make_up_run(name, bits=5 - bits, evaluation={"likelihood": part}, seed=ord(name))
    table = table_at("a", "b")
    assert bits_column(table) == f"{column}.bits_per_dim"
    assert ranked(table).index[0] == {"likelihood": "a", "test": "b"}[column]
    assert uneven_parts(table) == ([] if images == 9 else ["likelihood"])


@pytest.mark.parametrize("second, column", [(1.0, "validation"), (None, "test")])
def test_validation_images_rank_runs_that_all_hold_some_out(second, column):
    for seed, name in enumerate("ab"):
        make_up_run(name, bits=3.0 + seed, seed=seed)
    table = table_at("a", "b").assign(**{"validation.bits_per_dim": [2.0, second]})
    assert bits_column(table) == f"{column}.bits_per_dim"
    assert ranked(table).index[0] == {"validation": "b", "test": "a"}[column]


@pytest.mark.parametrize(
    "likelihood, score, bits, scale",
    [
        ("gaussian_shared_sigma", "density", 2.0, "density"),
        ("gaussian_shared_sigma", "levels", 2.0, "levels"),
        ("categorical", "density", 2.0, "levels"),
        ("bernoulli", "density", 2.0, "levels"),  # it has bits: the images are binary
        ("bernoulli", "density", None, "none"),
    ],
)
def test_scales_of_families(likelihood, score, bits, scale):
    make_up_run("a", likelihood=likelihood, score=score, bits=bits)
    assert group_of("a").scales == [scale]


def test_what_earlier_weights_measured_is_left_out():
    """An evaluation of a run that has been trained on since then."""
    for seed, name in enumerate("ab"):
        make_up_run(f"x/{name}", seed=seed)
        Path(f"x/{name}/checkpoints").mkdir(exist_ok=True)
        weights = Path(f"x/{name}/checkpoints/last.pt")
        weights.write_bytes(b"the weights now")
        mark = fingerprint(weights) if name == "a" else "of other weights"
        part = {"rate_nats": 3.0, "checkpoint": mark, "measures": VERSION}
        Path(f"x/{name}/evaluation.json").write_text(json.dumps({"latents": part}))
    rates = [row["latents.rate_nats"] for row in pv.compare("x")]
    assert rates == [3.0, None]
