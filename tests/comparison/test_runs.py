"""Runs found in folders, and chosen by their settings."""

import json
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.comparison.runs import find_runs, runs_to_compare
from pyro_vae.comparison.table import SETTINGS
from pyro_vae.measures.part import VERSION
from pyro_vae.notices import Notice
from tests.support.made_up import make_up_run, make_up_settings, make_up_study

pytestmark = pytest.mark.usefixtures("elsewhere")


def names(runs):
    return [run.folder.name for run in runs]


# --- finding --------------------------------------------------------------------------------------


def test_runs_are_found_once():
    make_up_study()
    there = sorted(path.name for path in Path("study").iterdir())
    found = find_runs([f"study/{there[-1]}", "study", f"study/../study/{there[0]}"])
    assert names(found.finished) == [there[-1], *there[:-1]]
    assert found.others == {"not finished": {}, "failed": {}, "left out": {}}


def test_what_is_not_finished_is_named_with_its_reason():
    for seed, name in enumerate(("done", "going", "broken", "silent")):
        make_up_run(f"x/{name}", seed=seed, epochs=3)
    Path("x/going/summary.json").unlink()
    Path("x/broken/failed.txt").write_text("In epoch 2:\nloss: not finite\n")  # with a summary
    Path("x/silent/failed.txt").write_text("")
    found = find_runs("x")
    assert names(found.finished) == ["done"]
    assert found.others["not finished"] == {"x/going": "0 of 3 epochs"}
    failed = {"x/broken": "loss: not finite", "x/silent": "no reason given"}
    assert found.others["failed"] == failed


def test_a_run_that_is_trained_for_longer_is_not_finished():
    make_up_run("x/a", epochs=5)
    summary = json.loads(Path("x/a/summary.json").read_text()) | {"epochs": 2, "asked_epochs": 2}
    Path("x/a/summary.json").write_text(json.dumps(summary))
    assert list(find_runs("x").others["not finished"]) == ["x/a"]


@pytest.mark.usefixtures("no_pictures")
def test_the_same_seed_twice_is_nowhere_a_second_seed(capsys):
    """Under another engine it is the same run to rounding: errors of 6e-8 over two seeds."""
    for name, engine, seed in (("a", "eager", 0), ("b", "svi", 0), ("c", "eager", 1)):
        make_up_run(f"x/{name}", engine=engine, seed=seed)
    assert main(["compare", "x"]) == 0
    assert "left out: x/b: settings and seed are those of x/a" in capsys.readouterr().out
    assert "settings and seed are those of x/a" in Path("x/report.html").read_text()
    given = [pv.Run(f"x/{name}") for name in "abc"]
    with pytest.warns(Notice, match="runs: x/b is left out: settings and seed are those of x/a"):
        runs = pv.Runs(given)
    assert names(runs) == ["a", "c"] and len(runs.table()) == 2
    with pytest.warns(Notice, match="runs: x/a is left out: settings and seed are those of x/a"):
        assert len(runs + [given[0]]) == 2


def test_two_runs_are_compared_at_least():
    make_up_run("x/a")
    make_up_run("x/b", seed=1)
    make_up_run("x/c")
    Path("x/b/summary.json").unlink()
    with pytest.raises(ValueError, match="got 1; not finished: x/b; left out: x/c"):
        runs_to_compare("x")


@pytest.mark.usefixtures("no_pictures")
def test_each_file_of_a_run_is_read_once(monkeypatch):
    make_up_settings("x", [0.0, 1.0], seeds=2)
    files = []
    monkeypatch.setattr("pyro_vae.files.check_regular", lambda path, _: files.append(path.name))
    main(["compare", "x"])
    names = ("config.yaml", "summary.json", "per_image.npz")
    assert [files.count(name) for name in names] == [4, 4, 4]
    files.clear()
    pv.load_runs("x")
    assert sorted(files) == ["config.yaml"] * 4 + ["summary.json"] * 4


# --- loading and choosing -------------------------------------------------------------------------


@pytest.fixture
def four_runs(copy_run):
    """The folder of four runs, two likelihoods by two betas."""
    for likelihood in ("gaussian_shared_sigma", "discretized_logistic"):
        for beta in (1.0, 4.0):
            copy_run(f"runs/{likelihood}-{beta:g}", likelihood=likelihood, beta=beta)
    return "runs"


def test_runs_are_chosen_by_their_settings(four_runs):
    runs = pv.load_runs(four_runs)
    assert len(runs) == 4 and all(run.summary for run in runs)
    assert not any(run.vae.training for run in runs)
    assert {run.config.beta for run in runs.where(likelihood="discretized_logistic")} == {1, 4}
    assert len(runs.where(beta=[1, 2], likelihood="discretized_logistic")) == 1
    assert len(runs.where(beta=2)) == 0
    assert runs.one(beta=4, likelihood="discretized_logistic").config.beta == 4
    assert len(runs[:2]) == 2 and isinstance(runs[:2], pv.Runs) and runs[0] in runs
    assert "runs/discretized_logistic-1" in repr(runs)
    with pytest.raises(ValueError, match="where: setting: unknown name 'betta'; did you mean"):
        runs.where(betta=1)
    with pytest.raises(ValueError, match=r"one: expected one run with \{'beta': 1\}, got 2"):
        runs.one(beta=1)


def test_the_table_has_settings_and_the_figures_of_today(four_runs):
    runs = pv.load_runs(four_runs)
    table = runs.table()
    assert table.index.tolist() == [str(run.folder) for run in runs]
    assert set(SETTINGS) <= set(table.columns)
    for run in runs:
        row = table.loc[str(run.folder)]
        assert row["beta"] == run.config.beta and row["hidden"] == (8,)
        assert row["test.elbo_nats"] == run.summary["test"]["elbo_nats"]
    assert table["test.elbo_nats"].dtype == float and table["seed"].dtype == int
    part = {"latents": {"rate_nats": 3.0, "checkpoint": runs[0].fingerprint, "measures": VERSION}}
    (runs[0].folder / "evaluation.json").write_text(json.dumps(part))
    assert runs.table()["latents.rate_nats"].iloc[0] == 3.0


def test_runs_that_are_left_out_are_said():
    for name, seed in (("done", 0), ("again", 0), ("begun", 1)):
        make_up_run(f"x/{name}", seed=seed)
    Path("x/begun/summary.json").unlink()
    with pytest.warns(Notice) as notices:
        runs = pv.load_runs("x")
    assert names(runs) == ["again"]
    assert [str(each.message) for each in notices] == [
        "load_runs: 1 of 3 runs are not finished",
        "load_runs: x/done is left out: settings and seed are those of x/again",
    ]
