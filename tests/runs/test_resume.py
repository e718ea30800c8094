"""Nothing is lost: signals and full disks leave a folder that resumes bit for bit."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.cli.main import main
from pyro_vae.files import replace_file
from pyro_vae.training.epochs import LEARNING_RATE_SCHEDULES
from tests.support.faults import full_disk, locked_folder
from tests.support.runs import TRAIN_QUICK, assert_same_run, contents, modified, quick
from tests.support.training import assert_same_weights

pytestmark = pytest.mark.usefixtures("elsewhere")
no_pictures = pytest.mark.usefixtures("no_pictures")
LONG = [  # a run with all that a checkpoint has to hold, and without an end
    *TRAIN_QUICK, "--binarize", "dynamic", "--likelihood", "bernoulli", "--beta-schedule", "linear",
    "--beta", "2", "--patience", "1000", "--engine", "eager",
]  # fmt: skip
LAST = Path("a/checkpoints/last.pt")


@pytest.mark.slow
@no_pictures
def test_a_signal_saves_and_the_run_resumes():
    arguments = [*LONG, "--warmup-epochs", "30", "--resume"]
    command = [sys.executable, "-m", "pyro_vae", *arguments, "--out", "a", "--epochs", "99999"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    while not LAST.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 143
    assert message.count("\n") == 1 and "pyro-vae train --resume --out a" in message
    step = load_checkpoint(LAST)["step"]
    assert f"after step {step};" in message
    arguments += ["--epochs", str(step // 10 + 33)]
    assert main([*arguments, "--out", "a"]) == 0
    assert main([*arguments, "--out", "whole"]) == 0
    assert_same_run("a", "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    "place, number, status",
    [("data.load_dataset", signal.SIGINT, 130), ("writer.summarise", signal.SIGTERM, 143)],
)
@no_pictures
def test_a_signal_outside_training_ends_the_command_at_once(
    capsys, monkeypatch, place, number, status
):
    def receive(*arguments, **options):
        os.kill(os.getpid(), number)

    arguments = [*TRAIN_QUICK, "--epochs", "1", "--out", "a", "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr(f"pyro_vae.runs.{place}", receive)
        assert main(arguments) == status
    error = capsys.readouterr().err
    assert error.startswith(f"pyro-vae: stopped by {signal.Signals(number).name}")
    assert error.count("\n") == 1
    assert ("training is done and saved" in error) == (place == "writer.summarise")
    assert main(arguments) == 0


def test_a_finished_run_is_left_as_it_is(copy_run):
    copy_run("a")
    before = modified("a")
    assert main([*TRAIN_QUICK, "--out", "a", "--resume", "--epochs", "2"]) == 0
    assert main(["train", "--out", "a", "--resume"]) == 0  # with the settings of the folder
    assert modified("a") == before


@pytest.mark.slow
@no_pictures
def test_a_run_resumes_under_another_engine(copy_run, capsys):
    copy_run("a")
    assert main(["train", "--out", "a", "--resume", "--epochs", "4", "--engine", "svi"]) == 0
    assert "Resuming a after step 22, epoch 2" in capsys.readouterr().out
    run, whole = pv.load_run("a"), pv.load_run(copy_run("b", epochs=4))
    assert run.metrics["epoch"] == [1, 2, 3, 4] and run.config.engine == "svi"
    assert_same_weights(run.vae.state_dict(), whole.vae.state_dict(), 1e-3)  # svi, in float32


@pytest.mark.slow
@no_pictures
def test_a_full_disk_while_overwriting_leaves_no_old_checkpoint_with_new_settings(monkeypatch):
    pv.train(quick(epochs=1), "a")
    with monkeypatch.context() as disk, pytest.raises(OSError, match="No space left"):
        disk.setattr("pyro_vae.runs.config.replace_file", full_disk)
        pv.train(quick(epochs=1, beta=2.0), "a", overwrite=True)
    assert not Path("a/checkpoints").exists() and pv.RunConfig.load("a/config.yaml").beta == 1.0


def brightness(subject):
    return {"brightness": subject.test.mean().item()}


@pytest.mark.slow
def test_overwrite_leaves_nothing_of_the_old_run(finished_run, no_pictures):
    Path("a/checkpoints/best.pt").touch()
    pv.explore(pv.load_run("a"))
    pv.measure(pv.load_run("a"), brightness)
    old = {path.removeprefix("a/") for path in contents("a")}
    measured = {path for path in old if path.startswith("measured/")}
    assert len(measured) == 1 and {"posterior.nc", "likelihood.csv", "explore.html"} <= old
    for name in "ab":
        assert main([*TRAIN_QUICK, "--epochs", "1", "--out", name, "--overwrite"]) == 0
    new, fresh = ({path[2:] for path in contents(name)} for name in "ab")
    assert new == fresh and list(Path("a/figures").iterdir()) == []
    assert pv.load_run("a").metrics["epoch"] == [1]


@no_pictures
def test_a_folder_without_a_checkpoint_is_started():
    Path("a").mkdir()
    Path("a/config.yaml.part").write_text("dataset: dig")  # half a configuration
    config = quick(epochs=1)
    assert pv.train(config, "a", resume=True).summary["epochs"] == 1
    LAST.unlink()
    assert pv.train(config, "a", resume=True).metrics["epoch"] == [1]


@pytest.mark.slow
@no_pictures
def test_a_run_with_patience_is_known_by_its_best_weights():
    settings = {"hidden": (64,), "latent_dim": 4, "learning_rate": 0.03, "batch_size": 32}
    run = pv.train(quick(**settings, epochs=400, patience=3), "a")
    losses = run.metrics["validation_loss"]
    best = 1 + losses.index(min(losses))
    assert run.summary["best_epoch"] == best and run.summary["epochs"] == best + 3 < 400
    assert run.summary["test"]["elbo_nats"] == pytest.approx(run.metrics["test_elbo"][best - 1])
    content = load_checkpoint("a/checkpoints/best.pt")
    assert content["epoch"] == best
    assert_same_weights(run.vae.state_dict(), content["model"])
    held = pv.load_dataset("digits", validation=True)
    assert run.metrics["step"][0] == len(held.train) // 32
    assert pv.train(run.config, "a", resume=True).summary == run.summary


# --- what fails on the way ------------------------------------------------------------------------


@no_pictures
def test_a_full_disk_ends_the_run_with_one_line(capsys, monkeypatch):
    assert main([*TRAIN_QUICK, "--epochs", "2", "--out", "a"]) == 0
    before = LAST.read_bytes()
    monkeypatch.setattr("os.fsync", full_disk)
    capsys.readouterr()
    assert main([*TRAIN_QUICK, "--epochs", "4", "--out", "a", "--resume"]) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error and error.count("\n") == 1
    assert LAST.read_bytes() == before


def test_a_folder_that_cannot_be_made(capsys, monkeypatch):
    replace_file("taken", "")
    for folder, reason in {"taken/a": "Not a directory", "locked/a": "Permission denied"}.items():
        if folder == "locked/a":
            monkeypatch.setattr("os.mkdir", locked_folder)
        assert main([*TRAIN_QUICK, "--epochs", "1", "--out", folder]) == 1
        error = capsys.readouterr().err
        assert reason in error and error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["svi", "eager"])
@no_pictures
def test_a_run_that_turns_nan_keeps_its_last_finite_checkpoint(capsys, monkeypatch, engine):
    def exploding(steps, *_):
        return np.where(steps < 40, 1.0, 1e30)

    arguments = [*TRAIN_QUICK, "--epochs", "9", "--out", "a", "--engine", engine]
    with monkeypatch.context() as patch:
        patch.setitem(LEARNING_RATE_SCHEDULES, "constant", exploding)
        assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "is not finite at epoch 4, step 4" in error and error.count("\n") == 1
    assert f"last finite checkpoint: {LAST}" in error
    run = pv.load_run("a")
    assert run.metrics["epoch"] == [1, 2, 3] and run.summary is None
    assert all(torch.isfinite(p).all() for p in run.vae.parameters())
    assert main([*arguments, "--resume"]) == 0
    assert math.isfinite(pv.load_run("a").summary["test"]["elbo_nats"])
