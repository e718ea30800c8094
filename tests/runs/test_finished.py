"""When a run is finished, and what stays of its results while it is resumed."""

import json
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from tests.support.runs import TRAIN_QUICK, quick

pytestmark = pytest.mark.usefixtures("elsewhere")
RESULTS = ("summary.json", "evaluation.json", "report.html", "checkpoints/last.pt", "metrics.csv")


def train(epochs, *flags):
    """Train the run in the folder `a`."""
    return main([*TRAIN_QUICK, "--epochs", str(epochs), "--out", "a", *flags])


def test_a_run_without_its_report_is_not_finished(copy_run, no_pictures):
    """It was killed between the two files: resuming writes the page that it points to."""
    copy_run("a")
    run = pv.Run("a")
    assert run.finished and run.report.stat().st_mtime_ns <= run.summary_file.stat().st_mtime_ns
    run.report.unlink()
    assert not pv.Run("a").finished
    assert train(2, "--resume") == 0
    assert pv.Run("a").finished


@pytest.mark.slow
def test_results_stay_until_their_successors_are_written(finished_run, monkeypatch):
    before = {name: Path("a", name).read_bytes() for name in RESULTS}

    def stop(self):
        raise RuntimeError("killed")

    monkeypatch.setattr("pyro_vae.training.loop.Training.draw_epoch", stop)
    Path("a/failed.txt").write_text("it diverged\n")
    assert train(4, "--resume") == 1
    for name in ("summary.json", "evaluation.json", "report.html"):
        assert Path("a", name).read_bytes() == before[name]
    run = pv.load_run("a")
    assert run.summary is None and run.config.epochs == 4  # that of two epochs is not current
    assert not run.finished and not run.failed  # it is tried again


@pytest.mark.slow
def test_damaged_metrics_are_found_before_anything_is_written(finished_run, capsys):
    Path("a/metrics.csv").write_text("epoch,step\nx,y\n")
    before = {name: Path("a", name).read_bytes() for name in (*RESULTS, "config.yaml")}
    assert train(4, "--resume") == 2
    assert "metrics: a/metrics.csv is no table of metrics" in capsys.readouterr().err
    assert {name: Path("a", name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_an_evaluation_says_which_weights_it_measured(finished_run, no_pictures):
    measured = json.loads(Path("a/evaluation.json").read_text())["latents"]["checkpoint"]
    assert measured == pv.load_run("a").fingerprint
    assert "trained on since then" not in Path("a/report.html").read_text()
    assert train(4, "--resume") == 0
    assert pv.load_run("a").fingerprint != measured and pv.Run("a").current_parts == {}
    assert "trained on since then" in Path("a/report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 7])
def test_parts_that_need_more_images_are_left_out_by_name(no_pictures, count):
    import numpy as np

    rng = np.random.default_rng(count)
    np.savez(
        "few.npz",
        train_images=rng.integers(256, size=(40, 8, 8), dtype=np.uint8),
        train_labels=np.arange(40) % 2,
        test_images=rng.integers(256, size=(count, 8, 8), dtype=np.uint8),
        test_labels=np.arange(count) % 2,
    )
    run = pv.train(quick(dataset="few.npz"), "a")
    parts = ["latents", "samples", "factors"]
    figures = pv.evaluate(run, parts, quick=True)
    left_out = {name for name in parts if figures[name].get("left_out")}
    assert left_out == ({"samples", "factors"} if count > 3 else set(parts))
    assert f"there are {count}" in figures["samples"]["left_out"]
    assert "it needs 8 test images" in Path("a/report.html").read_text()
