"""Nothing is lost: kills, signals and full disks leave a folder that goes on bit for bit."""

import csv
import errno
import io
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.files import replace_file
from pyro_vae.runs.checkpoints import load_checkpoint, save_checkpoint
from pyro_vae.runs.interrupts import Interrupted, Interrupts
from pyro_vae.training.loop import Stopped
from tests.programs import images, model

QUICK = ["train", "--hidden", "8", "--latent-dim", "2"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def training(engine="eager", **options):
    """A small run with all that a state has to hold: noise, schedules, dynamic pixels, selection."""
    settings = {
        "test_images": images(7), "validation_images": images(9), "patience": 3, "dynamic": True,
        "beta": 2.0, "beta_schedule": "linear", "warmup_epochs": 2, "epochs": 5, "batch_size": 8,
        "learning_rate_schedule": "cosine", "engine": engine,
    }  # fmt: skip
    return pv.fit(model(), images() * 0.7, **(settings | options))


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.engine.model.parameters()])


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def stop_after(steps):
    asked = iter(range(steps))
    return lambda: next(asked, None) is None


def without_seconds(records):
    return [{k: v for k, v in vars(r).items() if k != "seconds"} for r in records]


# --- the state of a training ----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["svi", "eager"])
@pytest.mark.parametrize("steps", [0, 1, 4, 5, 13, 24])
def test_a_restored_training_is_the_uninterrupted_one(engine, steps):
    whole = training(engine)
    expected = list(whole)
    first, records = training(engine, should_stop=stop_after(steps)), []
    with pytest.raises(Stopped):
        records.extend(iter(first.__next__, None))
    records = expected[: first.epoch]  # those of finished epochs were yielded before the stop
    assert first.step == steps
    torch.rand(99)
    second = training(engine)
    second.restore(through_a_file(first.state()))
    records = records + list(second)
    assert without_seconds(records) == without_seconds(expected)
    assert torch.equal(weights(second), weights(whole))
    assert (second.best_epoch, second.best_loss) == (whole.best_epoch, whole.best_loss)
    assert second.seconds > first.seconds


@pytest.mark.parametrize("engines", [("svi", "eager"), ("eager", "svi")])
def test_the_state_of_one_engine_goes_on_under_another(engines):
    """In float64; Adam magnifies rounding where gradients are tiny, hence 1e-7."""
    first = training(engines[0], precision="float64", should_stop=stop_after(12))
    with pytest.raises(Stopped):
        list(first)
    second, whole = (training(e, precision="float64") for e in (engines[1], "svi"))
    second.restore(through_a_file(first.state()))
    list(second), list(whole)
    assert (weights(second) - weights(whole)).abs().max() < 1e-7


def test_a_state_of_no_steps_holds_no_averages_of_adam():
    first, second = training(should_stop=lambda: True), training("svi")
    with pytest.raises(Stopped):
        next(first)
    assert first.state()["adam"] == {}
    second.restore(through_a_file(first.state()))
    assert len(list(second)) == second.epoch > 0


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda s: s.pop("order"), "does not fit this run .'order'"),
        (lambda s: s.update(order=torch.zeros(3, dtype=torch.uint8)), "does not fit this run"),
        (lambda s: s.update(random=[torch.zeros(3)]), "does not fit this run"),
        (lambda s: s["model"].popitem(), "does not fit this run .*state_dict"),
        (lambda s: s.update(model=7), "does not fit this run"),
        (lambda s: s.update(terms=torch.zeros(1, 3)), "another number of images"),
        (lambda s: s.update(step=99 * 5), "epochs: 99 are done already, got 5"),
        (
            lambda s: s["adam"]["likelihood.x"].update(exp_avg=torch.zeros(9)),
            "does not fit this run .'likelihood.x'",
        ),
        (
            lambda s: next(iter(s["adam"].values())).update(exp_avg=torch.zeros(9, 9)),
            "does not fit this run .expected Adam's averages of shape",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(damage, message):
    run = training()
    next(run)
    state = through_a_file(run.state())
    with pytest.raises(ValueError, match=message):
        try:
            damage(state)
        except KeyError as error:
            raise ValueError(f"does not fit this run ({error})") from error
        training().restore(state)


# --- selection --------------------------------------------------------------------------------------


def test_patience_ends_training_at_the_validation_sets_word():
    run = training(epochs=200, learning_rate=0.1, patience=4, learning_rate_schedule="constant")
    records = list(run)
    losses = {r.epoch: r.validation_loss for r in records if r.epoch > 2}  # after the warm-up
    assert run.best_epoch == min(losses, key=losses.get) and run.best_loss == min(losses.values())
    assert len(records) == run.best_epoch + 4 < 200
    scored = pv.fit(run.engine.model, images(), epochs=1, test_images=images(9))
    assert scored is not None and records[-1].validation_loss > run.best_loss


def test_the_validation_loss_is_distortion_and_beta_times_rate():
    run = training(epochs=1, warmup_epochs=1, patience=1, test_images=images(9))
    record = next(run)
    expected = record.test_distortion + 2.0 * record.test_rate
    assert record.validation_loss == pytest.approx(expected, rel=1e-6)
    assert run.best_epoch is None  # still warming up


def test_a_run_with_patience_is_known_by_its_best_weights():
    config = pv.RunConfig(
        hidden=(64,), latent_dim=4, epochs=400, learning_rate=0.03, patience=3, batch_size=32
    )
    run = pv.train(config, "a")
    losses = run.metrics["validation_loss"]
    best = 1 + losses.index(min(losses))
    assert run.summary["best_epoch"] == best and run.summary["epochs"] == best + 3 < 400
    assert run.summary["test"]["elbo_nats"] == pytest.approx(run.metrics["test_elbo"][best - 1])
    content = load_checkpoint("a/checkpoints/best.pt")
    assert content["epoch"] == best
    assert all(torch.equal(v, content["model"][k]) for k, v in run.vae.state_dict().items())
    held = pv.load_dataset("digits", validation=True)
    assert run.metrics["step"][0] == len(held.train) // 32
    again = pv.train(run.config, "a", resume=True)
    assert again.summary == run.summary


# --- runs that are stopped and go on ------------------------------------------------------------------


LONG = [
    *QUICK, "--binarize", "dynamic", "--likelihood", "bernoulli", "--beta-schedule", "linear",
    "--beta", "2", "--patience", "1000", "--engine", "eager",
]  # fmt: skip
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["pyro_vae.cli.parser", "sklearn.datasets", "torch._dynamo"])


def start(folder, arguments):
    """The command as a process of its own; one that is forked, to be there in no time."""
    process = _processes.Process(target=_command, args=(folder, arguments))
    process.start()
    return process


def _command(folder, arguments):
    os.chdir(folder)
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(main(arguments))


def assert_same_run(one, other):
    """The same weights to the last bit, and the same metrics but for the seconds."""
    a, b = (load_checkpoint(f"{run}/checkpoints/last.pt") for run in (one, other))
    for key, value in a["model"].items():
        assert torch.equal(value, b["model"][key]), key
    assert torch.equal(a["order"], b["order"]) and torch.equal(a["random"][0], b["random"][0])
    texts = (Path(run, "metrics.csv").read_text() for run in (one, other))
    rows = [list(csv.DictReader(text.splitlines())) for text in texts]
    for x, y in zip(*rows, strict=True):
        assert x | {"seconds": 0} == y | {"seconds": 0}


@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_twenty_kills_change_no_bit(tmp_path, engine):
    """SIGKILL at random moments, then on with --resume: the uninterrupted run's weights.

    The run has no end while it is being killed, however fast the machine."""
    arguments = [*LONG, "--warmup-epochs", "200", "--engine", engine, "--resume"]
    last, moments, kills = Path("a/checkpoints/last.pt"), random.Random(0), 0
    while kills < 20 or not last.exists():
        process = start(tmp_path, [*arguments, "--out", "a", "--epochs", "99999"])
        process.join(moments.uniform(0.1, 0.9))
        assert process.exitcode is None
        process.kill()
        process.join()
        kills += 1
        if last.exists():
            assert all(torch.isfinite(p).all() for p in pv.load_run("a").vae.parameters())
    epochs = max(200, load_checkpoint(last)["step"] // 10 + 33)  # a slow machine came less far
    arguments += ["--epochs", str(epochs)]
    for run in ("a", "whole"):
        process = start(tmp_path, [*arguments, "--out", run])
        process.join()
        assert process.exitcode == 0
    assert_same_run("a", "whole")


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_goes_on(number, status):
    arguments = [*LONG, "--warmup-epochs", "30", "--resume"]
    command = [sys.executable, "-m", "pyro_vae", *arguments, "--out", "a", "--epochs", "99999"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    while not Path("a/checkpoints/last.pt").exists():
        time.sleep(0.05)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == status
    assert message.count("\n") == 1 and "pyro-vae train --resume --out a" in message
    content = load_checkpoint("a/checkpoints/last.pt")
    assert f"after step {content['step']};" in message
    arguments += ["--epochs", str(content["step"] // 10 + 33)]
    assert main([*arguments, "--out", "a"]) == 0
    assert main([*arguments, "--out", "whole"]) == 0
    assert_same_run("a", "whole")


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("place", ["runs.load_dataset", "recording.summarise"])
def test_a_signal_outside_training_ends_the_command_at_once(
    capsys, monkeypatch, place, number, status
):
    folder = os.getcwd()
    monkeypatch.setattr(f"pyro_vae.{place}", lambda *_, **__: os.kill(os.getpid(), number))
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    arguments = [*QUICK, "--epochs", "1", "--out", "a", "--resume"]
    assert main(arguments) == status
    error = capsys.readouterr().err
    assert error.startswith(f"pyro-vae: stopped by {signal.Signals(number).name}")
    assert error.count("\n") == 1
    assert ("training is done and saved" in error) == (place == "recording.summarise")
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before
    monkeypatch.undo()
    os.chdir(folder)
    assert main(arguments) == 0


def test_a_second_signal_does_not_wait():
    with pytest.raises(Interrupted) as caught, Interrupts() as interrupts, interrupts.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.pending == signal.SIGINT
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not reached")
    assert caught.value.signal == signal.SIGTERM


def test_resume_starts_goes_on_and_ends(capsys):
    arguments = [*QUICK, "--out", "a", "--resume"]
    assert main([*arguments, "--epochs", "3"]) == 0  # starts
    before = Path("a/summary.json").read_bytes()
    stamp = Path("a/checkpoints/last.pt").stat().st_mtime_ns
    assert main([*arguments, "--epochs", "3"]) == 0  # is finished
    assert main(["train", "--out", "a", "--resume"]) == 0  # with the settings of the folder
    assert Path("a/summary.json").read_bytes() == before
    assert Path("a/checkpoints/last.pt").stat().st_mtime_ns == stamp
    assert main(["train", "--out", "a", "--resume", "--epochs", "5", "--engine", "svi"]) == 0
    assert "Going on in a after step 33, epoch 3" in capsys.readouterr().out
    assert pv.load_run("a").metrics["epoch"] == [1, 2, 3, 4, 5]
    assert pv.load_run("a").config.engine == "svi"
    assert main([*QUICK, "--epochs", "5", "--out", "b"]) == 0
    one, other = (pv.load_run(run).vae.state_dict() for run in "ab")
    assert all((v - other[k]).abs().max() < 1e-3 for k, v in one.items())  # svi, in float32


def test_longer_training_is_the_same_training():
    assert main([*QUICK, "--epochs", "2", "--out", "a"]) == 0
    assert main([*QUICK, "--epochs", "5", "--out", "a", "--resume"]) == 0
    assert main([*QUICK, "--epochs", "5", "--out", "whole"]) == 0
    assert_same_run("a", "whole")


def test_a_kill_in_the_middle_of_a_row_is_mended():
    assert main([*QUICK, "--epochs", "2", "--out", "a"]) == 0
    with open("a/metrics.csv", "a") as file:
        file.write("3,33,0.5,1.0,12.")
    assert pv.load_run("a").metrics["epoch"] == [1, 2]
    assert main([*QUICK, "--epochs", "3", "--out", "a", "--resume"]) == 0
    assert pv.load_run("a").metrics["epoch"] == [1, 2, 3]


def test_a_kill_while_overwriting_leaves_no_old_checkpoint_with_new_settings(monkeypatch):
    first, second = (pv.RunConfig(hidden=(8,), epochs=1, beta=beta) for beta in (1.0, 2.0))
    pv.train(first, "a")
    with monkeypatch.context() as disk, pytest.raises(OSError, match="No space left"):
        disk.setattr("pyro_vae.runs.config.replace_file", full)
        pv.train(second, "a", overwrite=True)
    assert not Path("a/checkpoints").exists() and pv.RunConfig.load("a/config.yaml").beta == 1.0


def test_overwrite_leaves_nothing_of_the_old_run():
    assert main([*QUICK, "--epochs", "2", "--patience", "2", "--out", "a"]) == 0
    assert main(["evaluate", "a", "--quick", "--only", "factors"]) == 0
    Path("a/posterior.nc").touch()
    assert main([*QUICK, "--epochs", "1", "--out", "a", "--overwrite"]) == 0
    assert not Path("a/posterior.nc").exists()
    assert not Path("a/checkpoints/best.pt").exists() and not Path("a/evaluation.json").exists()
    assert sorted(p.name for p in Path("a/figures").glob("progress*")) == ["progress_0001.png"]
    assert pv.load_run("a").metrics["epoch"] == [1]


def test_a_folder_without_a_checkpoint_is_started(tmp_path):
    config = pv.RunConfig(hidden=(8,), epochs=1)
    Path("a").mkdir()
    assert pv.train(config, "a", resume=True).summary["epochs"] == 1
    Path("a/checkpoints/last.pt").unlink()
    assert pv.train(config, "a", resume=True).metrics["epoch"] == [1]
    (Path("b").mkdir(), Path("b/config.yaml.part").write_text("dataset: dig"))
    assert pv.train(config, "b", resume=True).metrics["epoch"] == [1]


# --- what fails on the way ------------------------------------------------------------------------------


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    save_checkpoint("last.pt", {"step": 1})
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"last\.pt cannot be written: No space left on device"):
        save_checkpoint("last.pt", {"step": 2})
    assert load_checkpoint("last.pt") == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_ends_the_run_with_one_line(capsys, monkeypatch):
    assert main([*QUICK, "--epochs", "2", "--out", "a"]) == 0
    before = Path("a/checkpoints/last.pt").read_bytes()
    monkeypatch.setattr("os.fsync", full)
    capsys.readouterr()
    assert main([*QUICK, "--epochs", "4", "--out", "a", "--resume"]) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error and error.count("\n") == 1
    assert Path("a/checkpoints/last.pt").read_bytes() == before


def test_a_folder_that_cannot_be_written(capsys, monkeypatch):
    def refuse(path, *mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("os.mkdir", refuse)  # root may write anywhere
    assert main([*QUICK, "--epochs", "1", "--out", "locked/a"]) == 1
    error = capsys.readouterr().err
    assert "Permission denied" in error and error.count("\n") == 1


def test_a_file_where_a_folder_should_be(capsys):
    replace_file("taken", "")
    assert main([*QUICK, "--epochs", "1", "--out", "taken/a"]) == 1
    error = capsys.readouterr().err
    assert "Not a directory" in error and error.count("\n") == 1


def test_data_that_vanished_end_the_run_with_one_line(capsys):
    import numpy as np

    np.save("mine.npy", np.random.default_rng(0).integers(256, size=(30, 4, 4), dtype=np.uint8))
    assert main([*QUICK, "--dataset", "mine.npy", "--epochs", "1", "--out", "a"]) == 0
    Path("mine.npy").unlink()
    before = {p: p.read_bytes() for p in Path("a").rglob("*") if p.is_file()}
    for arguments in (
        [*QUICK, "--dataset", "mine.npy", "--epochs", "2", "--out", "a", "--resume"],
        ["evaluate", "a"],
    ):
        capsys.readouterr()
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert "data cannot be read any more: dataset: there is no file or folder" in error
        assert error.count("\n") == 1
    assert {p: p.read_bytes() for p in Path("a").rglob("*") if p.is_file()} == before


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_a_run_that_turns_nan_keeps_its_last_finite_checkpoint(capsys, monkeypatch, engine):
    arguments = [*QUICK, "--epochs", "9", "--out", "a", "--engine", engine]
    schedule = pv.objectives.LEARNING_RATE_SCHEDULES
    monkeypatch.setitem(schedule, "constant", lambda step, steps: 1.0 if step < 40 else 1e30)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "is not finite at epoch 4, step 4" in error and error.count("\n") == 1
    assert "last finite checkpoint: a/checkpoints/last.pt" in error
    run = pv.load_run("a")
    assert run.metrics["epoch"] == [1, 2, 3] and run.summary is None
    assert all(torch.isfinite(p).all() for p in run.vae.parameters())
    monkeypatch.setitem(schedule, "constant", lambda step, steps: 1.0)
    assert main([*arguments, "--resume"]) == 0
    assert math.isfinite(pv.load_run("a").summary["test"]["elbo_nats"])
