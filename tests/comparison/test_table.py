"""Rows, ranks and means against figures computed by hand."""

import csv
import json
import math
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.checkpoints import fingerprint
from pyro_vae.cli.main import main
from pyro_vae.comparison.table import (
    BEST,
    COMPARED,
    Point,
    best_point,
    bits_column,
    find_runs,
    line_settings,
    lines,
    points,
    rank_by_bits,
    read_runs,
    uneven_parts,
    varying,
)
from tests.support.made_up import make_up_run, make_up_study

pytestmark = pytest.mark.usefixtures("elsewhere")


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


def test_the_table_is_the_rows():
    assert main(["compare", make_up_study()]) == 0
    with open("study/compare.csv", newline="") as file:
        table = list(csv.DictReader(file))
    rows = pv.compare("study")
    assert len(table) == len(rows) == 12
    for line, row in zip(table, rows):
        assert line == {k: "" if v is None else str(v) for k, v in row.items()}


def test_the_table_writes_settings_as_flags_take_them():
    make_up_run("x/a", hidden=(8, 4))
    make_up_run("x/b", hidden=(8,))
    assert main(["compare", "x"]) == 0
    with open("x/compare.csv", newline="") as file:
        assert [line["hidden"] for line in csv.DictReader(file)] == ["8,4", "8"]


def test_runs_are_found_once():
    make_up_study()
    names = sorted(p.name for p in Path("study").iterdir())
    one, *_ = names
    found = find_runs([f"study/{one}", "study", f"study/../study/{one}"])
    assert [folder.path.name for folder in found] == names


def test_settings_that_vary():
    for n, hidden in enumerate(((8,), (8, 4))):
        make_up_run(str(n), seed=n, hidden=hidden)
    runs = read_runs(["0", "1"]).finished
    assert varying(runs) == ["hidden", "seed"]
    assert varying(runs[:1]) == []
    assert line_settings(runs, "beta") == ["hidden"]
    assert list(lines(runs, ["hidden"])) == ["hidden 8", "hidden 8,4"]


def test_means_over_seeds_with_their_standard_errors():
    for seed, bits in enumerate((1.0, 2.0, 6.0)):
        make_up_run(f"x/a{seed}", bits=bits, seed=seed, beta=4.0)
    make_up_run("x/b", bits=5.0, beta=0.0)
    make_up_run("x/c", bits=None, beta=1.0)
    runs = read_runs("x").finished
    alone, several = points(runs, "beta", "test.bits_per_dim")
    assert alone[:2] == (0, 5) and math.isnan(alone.standard_error) and alone.seeds == 1
    assert several.x == 4 and several.mean == 3 and several.seeds == 3
    # deviations -2, -1, 3: variance 14 / 2, over 3 runs
    assert several.standard_error == pytest.approx(math.sqrt(7 / 3), rel=1e-12)  # rounding
    of_a_function = points(runs, "beta", lambda run: run.config.seed if run.config.beta else None)
    assert [(p.x, p.mean, p.seeds) for p in of_a_function] == [(1, 0, 1), (4, 1, 3)]


@pytest.mark.parametrize("best, x", [("highest", 4), ("lowest", 0), ("nearest 1", 2), ("", None)])
def test_the_best_value_of_a_setting(best, x):
    curve = [Point(*figures, seeds=1) for figures in ((0, 0.3, 0.1), (2, 1.2, 0.1), (4, 1.9, 0.1))]
    found = best_point(curve, best)
    assert (found and found.x) == x
    assert best_point([], best) is None


def test_measures_are_best_in_a_way_that_is_known():
    best = {measure.best for measure in COMPARED.values()}
    assert best == {"", *BEST}


def test_the_ranking_leaves_out_what_has_no_bits():
    make_up_run("a", bits=3.0)
    make_up_run("b", bits=None, likelihood="bernoulli", elbo=99.0)
    make_up_run("c", bits=2.5, seed=1)
    runs = read_runs(["a", "b", "c"]).finished
    ranks = [(rank, run.folder.path.name) for rank, run in rank_by_bits(runs)]
    assert ranks == [(1, "c"), (2, "a"), (None, "b")]
    assert [run.scale for run in runs] == ["density", "none", "density"]


@pytest.mark.parametrize("images, column", [(9, "likelihood"), (8, "test")])
def test_the_tighter_bound_ranks_where_all_have_it_at_one_effort(images, column):
    """Two bounds with other numbers of draws, or on other images, are not compared."""
    for name, bits, count in (("a", 1.0, 9), ("b", 2.0, images)):
        bound = {"bits_per_dim": {"mean": bits, "standard_error": 0.1}, "images": count}
        part = bound | {"bits_per_dim_samples": 500, "quick": False}
        make_up_run(name, bits=5 - bits, evaluation={"likelihood": part}, seed=ord(name))
    runs = read_runs(["a", "b"]).finished
    assert bits_column(runs) == f"{column}.bits_per_dim"
    first = {"likelihood": "a", "test": "b"}[column]
    assert rank_by_bits(runs)[0][1].folder.path.name == first
    assert uneven_parts(runs) == ([] if images == 9 else ["likelihood"])


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
    make_up_run("b", seed=1)
    assert read_runs(["a", "b"]).finished[0].scale == scale


def test_too_few_finished_runs_are_named():
    make_up_run("x/a")
    make_up_run("x/b")
    Path("x/b/summary.json").unlink()
    with pytest.raises(ValueError, match="got 1; unfinished: x/b"):
        pv.compare("x")


def test_the_same_seed_twice_is_no_second_seed(capsys):
    """Under another engine it is the same run to rounding: errors of 6e-8 over two seeds."""
    for name, engine, seed in (("a", "eager", 0), ("b", "svi", 0), ("c", "eager", 1)):
        make_up_run(f"x/{name}", engine=engine, seed=seed)
    comparison = read_runs("x")
    assert [run.folder.path.name for run in comparison.finished] == ["a", "c"]
    assert comparison.repeated == {"x/b": "settings and seed are those of x/a"}
    assert main(["compare", "x"]) == 0
    assert "left out: x/b: settings and seed are those of x/a" in capsys.readouterr().out
    assert "settings and seed are those of x/a" in Path("x/report.html").read_text()


def test_what_earlier_weights_measured_is_left_out():
    """An evaluation of a run that has been trained on since then."""
    for seed, name in enumerate("ab"):
        make_up_run(f"x/{name}", seed=seed)
        Path(f"x/{name}/checkpoints").mkdir(exist_ok=True)
        weights = Path(f"x/{name}/checkpoints/last.pt")
        weights.write_bytes(b"the weights now")
        mark = fingerprint(weights) if name == "a" else "of other weights"
        part = {"rate_nats": 3.0, "checkpoint": mark}
        Path(f"x/{name}/evaluation.json").write_text(json.dumps({"latents": part}))
    rates = [row["latents.rate_nats"] for row in pv.compare("x")]
    assert rates == [3.0, None]
