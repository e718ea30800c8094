"""The images of a run: replaced ones are told, and moved ones are known again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.comparison.pictures import pictures
from pyro_vae.comparison.plots import Group
from pyro_vae.comparison.table import table_of
from pyro_vae.data import Dataset, Split
from pyro_vae.kept import digest
from pyro_vae.notices import Notice
from pyro_vae.runs.measure import measure
from tests.support import seams
from tests.support.runs import TINY, contents, metrics, quick

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")
IMAGES = np.random.default_rng(0).integers(256, size=(60, 4, 4), dtype=np.uint8)
OTHERS = 255 - IMAGES
OTHER_IMAGES = "dataset: the images in .*a.npy are not those that run was trained on; put them back"


@pytest.fixture
def run(monkeypatch):
    """A run on own images whose project has not moved yet."""
    seams.evaluate_with(TINY, monkeypatch.setattr)
    np.save("a.npy", IMAGES)
    return pv.train(quick(dataset="a.npy", likelihood="laplace", epochs=2), "run")


def count(subject):
    return {"images": len(subject.test)}


def replaced():
    np.save("a.npy", OTHERS)


def moved():
    Path("new").mkdir()
    shutil.move("a.npy", "new/b.npy")
    return "new/b.npy"


def test_replaced_images_are_told_wherever_they_are_read(run, capsys):
    replaced()
    before = contents("run")
    for command in (
        ["train", "--resume", "--epochs", "3", "--out", "run"],
        ["evaluate", "run", "--quick", "--only", "latents"],
        ["explore", "run"],
    ):
        assert main(command) != 0
        err = capsys.readouterr().err
        assert "a.npy are not those that run was trained on; put them back" in err
        assert err.count("\n") == 1 and contents("run") == before
    with pytest.raises(OSError, match=OTHER_IMAGES):
        measure(run, count)
    assert main(["report", "run"]) == 0
    assert "a.npy are not those that run was trained on" in capsys.readouterr().err


def test_moved_images_are_known_by_their_content(run, capsys):
    path = moved()
    resume = ["train", "--resume", "--epochs", "4", "--out", "run"]
    for command in (
        ["evaluate", "run", "--only", "latents", "--quick"],
        ["explore", "run"],
        resume,
    ):
        before = contents("run")
        capsys.readouterr()
        assert main(command) == 1
        (error,) = capsys.readouterr().err.splitlines()
        assert "data cannot be read any more: dataset: there is no file or folder" in error
        assert contents("run") == before
        assert main([*command, "--dataset", path]) == 0
    assert pv.evaluate(run, ["latents"], quick=True, dataset=path)["latents"]
    assert pv.explore(run, dataset=Path(path)) == run.explorer
    assert main(["report", "run", "--dataset", path]) == 0
    assert "new/b.npy" in Path("run/report.html").read_text()
    assert pv.Run("run").config.dataset == str(Path(path).absolute())
    np.save("a.npy", IMAGES)
    pv.train(quick(dataset="a.npy", likelihood="laplace", epochs=4), "whole")
    assert metrics("run") == metrics("whole")


@pytest.mark.parametrize(
    "command",
    [["evaluate", "run"], ["explore", "run"], ["report", "run"],
     ["train", "--resume", "--epochs", "3", "--out", "run"]],
)  # fmt: skip
def test_another_place_with_other_images_is_refused(run, capsys, command):
    np.save("other.npy", OTHERS)
    assert main([*command, "--dataset", "other.npy"]) != 0
    assert "other.npy are not those that run was trained on" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_is_not_checked(run, capsys):
    Path("run/images.sha256").unlink()
    np.save("b.npy", OTHERS)
    assert main(["evaluate", "run", "--dataset", "b.npy"]) == 2
    assert "run is of an earlier version and cannot recognise its images" in capsys.readouterr().err
    assert main(["train", "--resume", "--dataset", "b.npy", "--out", "run", "--epochs", "3"]) == 2
    assert "out: dataset is" in capsys.readouterr().err
    replaced()
    assert main(["evaluate", "run", "--quick", "--only", "latents"]) == 0
    assert main(["report", "run"]) == 0 and "trained on" not in capsys.readouterr().err


@pytest.mark.slow
def test_runs_before_and_after_are_not_compared(run, capsys):
    replaced()
    for seed in (1, 2):
        pv.train(quick(dataset="a.npy", likelihood="laplace", seed=seed), f"runs/{seed}")
    shutil.copytree("run", "runs/0")
    with pytest.warns(Notice) as told:
        assert [run.name for run in pv.load_runs("runs")] == ["0"]
    left_out = [
        f"{n} is left out: its data set held other images than that of runs/0" for n in "12"
    ]
    assert [str(each.message) for each in told] == [f"load_runs: runs/{said}" for said in left_out]
    shutil.move("runs/0", "runs/9")
    assert main(["compare", "runs"]) == 0
    assert "left out: runs/9: its data set held other images than that of runs/1" in (
        capsys.readouterr().out
    )
    np.save("a.npy", IMAGES)
    runs = [pv.Run("runs/1")]
    with pytest.warns(Notice, match="compare: no pictures: dataset: the images in"):
        assert pictures(Group("a", runs, table_of(runs)), Path()) is None


@pytest.mark.slow
def test_a_sweep_whose_images_have_moved_resumes_and_is_compared(run, capsys):
    grid = {"dataset": "a.npy", "hidden": 8, "latent_dim": 2, "epochs": 1, "likelihood": "laplace"}
    pv.sweep(grid | {"seed": [0, 1]}, "runs")
    path = moved()
    pv.sweep(grid | {"dataset": path, "seed": [0, 1, 2], "epochs": 1}, "runs")
    found = pv.load_runs("runs")
    assert found.table()["dataset"].nunique() == 1 and len(found) == 3
    assert pv.explore(list(found), "page.html", dataset=path)
    assert pv.explore(["runs/seed=2", "runs/seed=0"], "page.html")
    shutil.copytree("runs/seed=2", "runs/again")
    Path("runs/again/config.yaml").write_text(Path("runs/seed=0/config.yaml").read_text())
    with pytest.warns(Notice, match=r"settings and seed are those of runs/again"):
        assert len(pv.load_runs("runs")) == 3


def test_the_fingerprint_is_that_of_the_images_as_they_were_read():
    plain = pv.load_dataset("digits")
    x = plain.train.images, plain.test.images
    assert plain.fingerprint == digest(*x)
    for options in ({"validation": True}, {"binarize": "static"}, {"binarize": "dynamic"}):
        assert pv.load_dataset("digits", **options).fingerprint == plain.fingerprint
    assert plain.to("cpu", torch.float64).fingerprint == plain.fingerprint
    assert Dataset("mine", Split(x[0]), Split(x[1]), 17).fingerprint == ""
