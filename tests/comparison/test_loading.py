"""Finished runs loaded from folders, and chosen by their settings."""

from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.comparison.loading import SETTINGS
from pyro_vae.notices import Notice
from tests.support import seams
from tests.support.runs import quick

FACTS = {"likelihood": ["laplace", "gaussian_shared_sigma"], "beta": [1, 4]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four runs of an epoch, two likelihoods by two betas."""
    place = tmp_path_factory.mktemp("runs") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        seams.do_without_pictures(patch.setattr)
        pv.sweep({"hidden": (4,), "latent_dim": 2, "epochs": 1, **FACTS}, place)
    return place


def test_runs_are_chosen_by_their_settings(folder):
    runs = pv.load_runs(folder)
    assert len(runs) == 4 and all(run.summary for run in runs)
    assert {run.config.beta for run in runs.where(likelihood="laplace")} == {1, 4}
    assert len(runs.where(beta=[1, 2], likelihood="laplace")) == 1
    assert len(runs.where(beta=2)) == 0
    assert runs.one(beta=4, likelihood="laplace").config.beta == 4
    assert len(runs[:2]) == 2 and isinstance(runs[:2], pv.Runs) and runs[0] in runs
    assert str(folder) in repr(runs)


def test_the_table_has_settings_and_figures(folder):
    runs = pv.load_runs(folder)
    table = runs.table()
    assert table.index.tolist() == [str(run.folder) for run in runs]
    assert set(SETTINGS) <= set(table.columns)
    for run in runs:
        row = table.loc[str(run.folder)]
        assert row["beta"] == run.config.beta and row["hidden"] == (4,)
        assert row["test.elbo_nats"] == run.summary["test"]["elbo_nats"]


@pytest.mark.usefixtures("elsewhere", "no_pictures")
def test_runs_that_are_not_finished_are_left_out():
    pv.train(quick(epochs=1), out="x/done")
    Path("x/begun").mkdir()
    quick(epochs=1, seed=1).save("x/begun/config.yaml")
    with pytest.warns(Notice, match="load_runs: 1 of 2 runs are not finished"):
        runs = pv.load_runs("x")
    assert [run.folder.name for run in runs] == ["done"]


def test_what_is_not_there_is_refused(folder):
    runs = pv.load_runs(folder)
    with pytest.raises(ValueError, match="where: setting: unknown name 'betta'; did you mean"):
        runs.where(betta=1)
    with pytest.raises(ValueError, match=r"one: expected one run with \{'beta': 1\}, got 2"):
        runs.one(beta=1)
    with pytest.raises(ValueError, match="compare: there is no folder nowhere"):
        pv.load_runs("nowhere")
