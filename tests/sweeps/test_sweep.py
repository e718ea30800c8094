"""A sweep trains every combination once, whatever happens on the way."""

import os
import random
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.runs.writer import RunWriter
from tests.support import seams
from tests.support.processes import PROCESSES, write_to
from tests.support.runs import assert_same_folder, assert_same_run, modified
from tests.support.sweeps import (
    BETAS,
    DYNAMIC,
    NAMES,
    SWEEP,
    Noting,
    engines_of_runs,
    run_names,
    written,
)

pytestmark = pytest.mark.usefixtures("small_sweeps")

# --- what it leaves -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_folders_are_those_of_single_runs(capsys):
    assert main([*SWEEP, *BETAS, "--precision", "float64"]) == 0
    assert run_names() == NAMES
    assert engines_of_runs() == dict.fromkeys(NAMES, "compiled")
    config = pv.RunConfig.load(f"a/{NAMES[1]}/config.yaml")
    assert (config.beta, config.seed) == (0.5, 1)
    pv.train(config, "alone")
    assert_same_folder(f"a/{NAMES[1]}", "alone")
    assert "Comparison of 4 runs" in Path("a/report.html").read_text()
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "4 runs in a, 4 of them to train" and len(lines) == 6 and err == ""
    assert [line.split(": ")[0] for line in lines[1:5]] == NAMES
    assert lines[1].startswith("beta=0.5,seed=0: test  ELBO -") and "(1 of 4 runs done)" in lines[1]
    assert lines[-1] == "All 4 runs are finished: look at a/report.html"


@pytest.mark.slow
def test_the_grid_is_kept_and_repeats_the_sweep(capsys):
    Path("grid.yaml").write_text("hidden: [8, 4]\nbeta: [1, 2, 3]\nlatent_dim: 3\nepochs: 1\n")
    assert main(["sweep", "--config", "grid.yaml", "--out", "a", "--beta", "4", "5"]) == 0
    assert run_names() == ["beta=4", "beta=5"]  # flags win
    assert pv.load_run("a/beta=4").config.hidden == (8, 4)
    kept = yaml.safe_load(Path("a/sweep.yaml").read_text())
    assert kept == {"hidden": [8, 4], "beta": [4.0, 5.0], "latent_dim": 3, "epochs": 1}
    before = written("a")
    assert main(["sweep", "--config", "a/sweep.yaml", "--out", "a"]) == 0
    assert written("a") == before
    assert "2 runs in a, 0 of them to train" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_from_python():
    observer, names = Noting(), ("seed=0", "seed=1")
    grid = {**DYNAMIC, "seed": range(2), "epochs": 2}
    summaries = pv.sweep(grid, "a", observer=observer)
    steps = [(name, n, n == 2) for n in (1, 2) for name in names]
    ended = [("ended", name, True) for name in names]
    assert observer.told == [("started", [False, False]), *steps, *ended]
    assert summaries == {name: pv.load_run(f"a/{name}").summary for name in names}


def test_each_reason_for_failures_is_a_notice_and_again_in_the_next_call():
    grid = DYNAMIC | {"dataset": "absent.npy", "binarize": "none", "seed": [0, 1]}
    for _ in range(2):
        with pytest.warns(UserWarning, match="sweep: failed: dataset: there is no file") as told:
            assert list(pv.sweep(grid, "a").values()) == [None, None]
        assert len(told) == 1


# --- kills and signals ----------------------------------------------------------------------------


def killed_sweep(folder, arguments, writes):
    """In a process of its own; SIGKILL comes as it is about to put the n-th file in its place."""
    os.chdir(folder)
    torch.set_num_threads(1)
    write_to(os.devnull, 1)
    seams.do_without_inductor()
    seams.do_without_pictures()
    seams.score_with_few_draws()
    seams.set_steps_that_pay(1)
    replace, count = os.replace, iter(range(1, writes))

    def replace_or_die(*paths):
        if next(count, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    os.replace = replace_or_die
    sys.exit(main(arguments))


def status_of(folder, arguments, writes=10**9):
    process = PROCESSES.Process(target=killed_sweep, args=(folder, arguments, writes))
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.slow
def test_a_sweep_that_is_killed_twice_resumes_to_the_same_bits(tmp_path):
    """`python -m tests.campaign` kills more, also of runs that are trained one by one.

    Without a kill it writes 28 files at least: 4 runs x (settings, 3 epochs, 3 at the end).
    """
    moments = random.Random(0)
    arguments = [*SWEEP, *BETAS]
    finished = {}
    for writes in (moments.randrange(2, 15), moments.randrange(2, 9)):
        assert status_of(tmp_path, arguments, writes) == -signal.SIGKILL
        assert finished.items() <= written("a").items()
        done = [name for name in NAMES if Path("a", name, "report.html").exists()]
        finished = written(*(f"a/{name}" for name in done))
    assert status_of(tmp_path, arguments) == 0
    assert finished.items() <= written("a").items()
    before = written("a")
    assert status_of(tmp_path, arguments) == 0
    assert written("a") == before
    assert main([*SWEEP[:-1], "whole", *BETAS]) == 0
    for name in NAMES:
        assert_same_run(f"a/{name}", f"whole/{name}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine, number, status", [("auto", signal.SIGTERM, 143), ("eager", signal.SIGINT, 130)]
)
def test_a_signal_saves_and_the_same_command_resumes(capsys, monkeypatch, engine, number, status):
    arguments = [*SWEEP, *BETAS, "--engine", engine]
    add, calls = RunWriter.add, iter(range(1, 5))

    def add_and_stop(writer, record):
        add(writer, record)
        if next(calls, 0) == 4:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(RunWriter, "add", add_and_stop)
    assert main(arguments) == status
    error, name = capsys.readouterr().err, signal.Signals(number).name
    assert error == f"pyro-vae: stopped by {name}; all is saved, and the same command resumes\n"
    assert main(arguments) == 0
    assert main([*SWEEP[:-1], "whole", *BETAS, "--engine", engine]) == 0
    for name in NAMES:
        assert_same_run(f"a/{name}", f"whole/{name}")


@pytest.mark.slow
def test_a_kill_before_the_report_is_mended():
    assert main([*SWEEP, "--beta", "1", "4"]) == 0
    Path("a/beta=4/report.html").unlink()
    before = written("a")
    assert main([*SWEEP, "--beta", "1", "4"]) == 0
    assert Path("a/beta=4/report.html").exists() and before.items() <= written("a").items()


# --- what is refused ------------------------------------------------------------------------------

WRONG = [
    (["sweep", "--beta", "1"], "the following arguments are required: --out"),
    (["sweep", "--out", "a", "--betas", "1"], "unknown argument --betas; did you mean --beta?"),
    (["sweep", "--out", "a", "--beta"], "argument --beta: expected at least one argument"),
    (["sweep", "--out", "a", "--beta", "1", "x"], "beta: expected a number >= 0, got 'x'"),
    (["sweep", "--out", "a", "--objective", "elbo", "iwae", "--beta", "1", "4"],
     "combination objective=iwae,beta=4: "),
    (["sweep", "--out", "a", "--config", "none.yaml"], "config: none.yaml cannot be read"),
    (["sweep", "--out", "a", "--config", "key.yaml"], "config: key in key.yaml: unknown name 'betta'"),
    (["sweep", "--out", "a", "--config", "empty.yaml"], "beta: expected one value at least, got none"),
    (["sweep", "--out", "file"], "out: file is there already, and is not a folder"),
    (["sweep", "--out", "folder"], "out: folder is no sweep: it has no sweep.yaml"),
    (["sweep", "--out", "old", "--seed", "0", "1", "--epochs", "9"],
     "out: epochs is 3 in old/seed=0, got 9; only device"),
]  # fmt: skip


@pytest.mark.parametrize("arguments, message", WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_what_is_refused_writes_nothing(tmp_path, capsys, arguments, message):
    Path("key.yaml").write_text("betta: 1")
    Path("empty.yaml").write_text("beta: []")
    Path("file").write_text("mine")
    Path("folder").mkdir()
    Path("folder/thesis.tex").write_text("mine")
    Path("old/seed=0").mkdir(parents=True)
    Path("old/sweep.yaml").write_text("seed: 0")
    pv.RunConfig(epochs=3).save("old/seed=0/config.yaml")
    before = modified(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and err.startswith("pyro-vae: ") and out == ""
    assert modified(tmp_path) == before


@pytest.mark.parametrize(
    "flags, names",
    [
        (["--engine", "svi", "eager"], "engine"),
        (["--device", "auto", "cpu", "--data-limit", "1", "2"], "device and data_limit"),
        (["--config", "batches.yaml"], "batch_size"),
    ],
)
def test_runs_that_differ_in_nothing_that_matters_are_refused(capsys, flags, names):
    Path("batches.yaml").write_text("batch_size: [null, 128]")
    assert main([*SWEEP, *flags]) == 2
    error = capsys.readouterr().err
    assert f"{names}: the runs differ in nothing else" in error and error.count("\n") == 1
    assert not Path("a").exists()


def test_a_machine_without_a_compiler_is_told_first(capsys, monkeypatch):
    seams.take_away_the_compiler(monkeypatch.setattr)
    assert main([*SWEEP, "--engine", "eager", "compiled"]) == 2
    assert "engine: no C++ compiler (g++), which compiled needs" in capsys.readouterr().err
    assert not Path("a").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_machine_without_a_gpu_is_told_first(capsys):
    assert main(["sweep", "--out", "a", "--device", "cpu", "cuda"]) == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err
    assert not Path("a").exists()
