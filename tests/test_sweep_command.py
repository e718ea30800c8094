"""A sweep trains every combination once, whatever happens on the way."""

import json
import math
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
import yaml

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.writer import RunWriter
from pyro_vae.sweeps.trainer import pays_together
from pyro_vae.comparison import plots
from pyro_vae.runs import report, writer
from pyro_vae.runs.run import build_model
from pyro_vae.sweeps.observer import SweepObserver
from pyro_vae.training import engines, ensembles
from tests.test_resume import _processes, assert_same_run
from tests.test_sweeps import assert_same_folder

SMALL = {"hidden": "8", "latent_dim": 2, "epochs": 3, "binarize": "dynamic", "device": "cpu"}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
SWEEP = ["sweep", *FLAGS, "--out", "a"]
BETAS = ["--likelihood", "bernoulli", "--beta", "0.5", "2", "--seed", "0", "1"]
NAMES = ["beta=0.5,seed=0", "beta=0.5,seed=1", "beta=2,seed=0", "beta=2,seed=1"]


def do_without_inductor(setattr, pays=1):
    """No inductor, no pictures: it is the sweeps that are tested."""
    setattr(engines.Compiled, "compile", staticmethod(lambda step, device: step))
    setattr(engines, "STEPS_THAT_PAY", pays)
    setattr(writer, "one_run", MagicMock())
    setattr(report, "one_run", MagicMock())
    setattr(report, "svg", lambda *figure: "")
    setattr(plots, "svg", lambda *figure: "")
    setattr(RunFolder, "save_figure", lambda self, name, figure: None)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    do_without_inductor(monkeypatch.setattr)


def stamps(*folders):
    """When the files were written, but for the sweep's own page, which is written anew."""
    page = {Path("a/report.html"), Path("a/compare.csv")}
    files = (p for folder in folders for p in Path(folder).rglob("*") if p.is_file())
    return {str(p): p.stat().st_mtime_ns for p in files if p not in page}


def engines_of_runs():
    summaries = Path("a").glob("*/summary.json")
    return {path.parent.name: json.loads(path.read_text())["engine"] for path in summaries}


def folders():
    return sorted(p.name for p in Path("a").iterdir() if p.is_dir())


# --- what it leaves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_the_folders_are_those_of_single_runs(capsys, engine):
    precise = ["--precision", "float64", "--engine", engine]
    assert main([*SWEEP, *BETAS, *precise]) == 0
    out, err = capsys.readouterr()
    assert folders() == NAMES and err == ""
    assert set(engines_of_runs().values()) == {"compiled" if engine == "auto" else "eager"}
    lines = out.splitlines()
    assert lines[0] == "4 runs in a, 4 of them to train" and len(lines) == 6
    assert [line.split(": ")[0] for line in lines[1:5]] == NAMES
    assert lines[1].startswith("beta=0.5,seed=0: test  ELBO -") and "(1 of 4 runs done)" in lines[1]
    assert lines[-1] == "All 4 runs are finished: look at a/report.html"
    assert "Comparison of 4 runs" in Path("a/report.html").read_text()
    config = pv.RunConfig.load(f"a/{NAMES[1]}/config.yaml")
    assert (config.beta, config.seed) == (0.5, 1)
    pv.train(config, "alone")
    assert_same_folder(f"a/{NAMES[1]}", "alone")


def test_the_grid_is_kept_and_repeats_the_sweep(capsys):
    Path("grid.yaml").write_text("hidden: [8, 4]\nbeta: [1, 2, 3]\nlatent_dim: 3\nepochs: 1\n")
    assert main(["sweep", "--config", "grid.yaml", "--out", "a", "--beta", "4", "5"]) == 0
    assert folders() == ["beta=4", "beta=5"]  # flags win
    assert pv.load_run("a/beta=4").config.hidden == (8, 4)
    kept = yaml.safe_load(Path("a/sweep.yaml").read_text())
    assert kept == {"hidden": [8, 4], "beta": [4.0, 5.0], "latent_dim": 3, "epochs": 1}
    before = stamps("a")
    assert main(["sweep", "--config", "a/sweep.yaml", "--out", "a"]) == 0
    assert stamps("a") == before
    assert "2 runs in a, 0 of them to train" in capsys.readouterr().out


def test_from_python():
    seen, ended = [], []
    summaries = pv.sweep(
        {**SMALL, "seed": range(2), "epochs": 2},
        "a",
        announce=lambda members: seen.append([m.ended for m in members]),
        on_record=lambda name, record, last: seen.append((name, record.epoch, last)),
        on_end=lambda member: ended.append(member.name),
    )
    steps = [(name, n, n == 2) for n in (1, 2) for name in ("seed=0", "seed=1")]
    assert seen == [[False, False], *steps] and ended == ["seed=0", "seed=1"]
    assert summaries == {name: pv.load_run(f"a/{name}").summary for name in ("seed=0", "seed=1")}


def test_a_larger_grid_adds_runs_and_keeps_those_that_are_there():
    assert main([*SWEEP, "--beta", "0.5", "2"]) == 0
    before = stamps("a/beta=0.5", "a/beta=2")
    assert main([*SWEEP, "--beta", "0.5", "2", "8", "--seed", "0", "1"]) == 0
    assert folders() == [
        "beta=0.5", "beta=0.5,seed=1", "beta=2", "beta=2,seed=1", "beta=8,seed=0", "beta=8,seed=1",
    ]  # fmt: skip
    assert before == stamps("a/beta=0.5", "a/beta=2") and len(engines_of_runs()) == 6


# --- the engines ------------------------------------------------------------------------------------


def test_which_groups_are_pays_together(monkeypatch):
    monkeypatch.setattr("pyro_vae.training.engines.STEPS_THAT_PAY", 20_000)
    of = lambda count, **options: [pv.RunConfig(seed=n, **options) for n in range(count)]  # noqa: E731
    assert pays_together(of(10, epochs=200), 1280) is True  # 10 x 200 x 10 steps
    assert pays_together(of(10, epochs=199), 1280) is False
    assert pays_together(of(10, epochs=100, batch_size=64), 1280) is True
    assert pays_together(of(10, epochs=200), 1279) is False
    assert pays_together(of(20_000, epochs=1), 100) is True  # batches of 100
    assert pays_together(of(1, epochs=99_999), 1280) is False
    assert pays_together(of(2, epochs=1, engine="compiled"), 1280) is True
    for engine in ("svi", "eager"):
        assert pays_together(of(99, epochs=999, engine=engine), 1280) is False
    monkeypatch.setattr("pyro_vae.training.engines.missing_compiler", lambda: "no C++ compiler (g++)")
    assert pays_together(of(10, epochs=200), 1280) is False


def test_groups_are_judged_by_their_own_steps(monkeypatch):
    """Two groups of two runs, 33 steps each: none has enough, though all four would."""
    grid = ["--likelihood", "bernoulli", "--seed", "0", "1", "--latent-dim", "2", "3"]
    monkeypatch.setattr("pyro_vae.training.engines.STEPS_THAT_PAY", 2 * 33 + 1)
    assert main([*SWEEP, *grid]) == 0
    assert set(engines_of_runs().values()) == {"eager"}


def test_a_group_that_cannot_go_together_goes_one_by_one(capsys, monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("the compiler has crashed\nwith a long story")

    monkeypatch.setattr(engines.Compiled, "compile", staticmethod(refuse))
    monkeypatch.setattr("pyro_vae.training.engines.STEPS_THAT_PAY", 100)  # of 33 steps each
    assert main([*SWEEP, *BETAS]) == 0
    message = "engine: one run after the other, since the compiler has crashed\n"
    assert message in capsys.readouterr().err
    assert engines_of_runs() == dict.fromkeys(NAMES, "eager")


# --- kills and signals ------------------------------------------------------------------------------


def _command(folder, arguments, writes):
    """In a process of its own; SIGKILL comes as it is about to put the n-th file in its place."""
    os.chdir(folder)
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    do_without_inductor(setattr)
    replace, count = os.replace, iter(range(1, writes))

    def replace_or_die(*paths):
        if next(count, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)

    os.replace = replace_or_die
    sys.exit(main(arguments))


def status_of(folder, arguments, writes=10**9):
    process = _processes.Process(target=_command, args=(folder, arguments, writes))
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("engine, seed", [("auto", 0), ("auto", 1), ("eager", 2)])
def test_a_sweep_that_is_killed_twice_goes_on_to_the_same_bits(tmp_path, engine, seed):
    """Without a kill it writes 28 files at least: 4 runs x (settings, 3 epochs, 3 at the end)."""
    moments = random.Random(seed)
    arguments = [*SWEEP, *BETAS, "--engine", engine]
    finished = {}
    for writes in (moments.randrange(2, 15), moments.randrange(2, 9)):
        assert status_of(tmp_path, arguments, writes) == -signal.SIGKILL
        assert finished.items() <= stamps("a").items()
        done = [name for name in NAMES if Path("a", name, "report.html").exists()]
        finished = stamps(*(f"a/{name}" for name in done))
    assert status_of(tmp_path, arguments) == 0
    assert finished.items() <= stamps("a").items()
    before = stamps("a")
    assert status_of(tmp_path, arguments) == 0
    assert stamps("a") == before
    assert main([*SWEEP[:-1], "whole", *BETAS, "--engine", engine]) == 0
    for name in NAMES:
        assert_same_run(f"a/{name}", f"whole/{name}")


@pytest.mark.parametrize(
    "engine, number, status", [("auto", signal.SIGTERM, 143), ("eager", signal.SIGINT, 130)]
)
def test_a_signal_saves_and_the_same_command_goes_on(capsys, monkeypatch, engine, number, status):
    arguments = [*SWEEP, *BETAS, "--engine", engine]
    add, calls = RunWriter.add, iter(range(1, 5))

    def add_and_stop(writer, record):
        add(writer, record)
        if next(calls, 0) == 4:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(RunWriter, "add", add_and_stop)
    assert main(arguments) == status
    error = capsys.readouterr().err
    name = signal.Signals(number).name
    assert error == f"pyro-vae: stopped by {name}; all is saved, and the same command resumes\n"
    assert main(arguments) == 0
    assert main([*SWEEP[:-1], "whole", *BETAS, "--engine", engine]) == 0
    for name in NAMES:
        assert_same_run(f"a/{name}", f"whole/{name}")


def test_a_kill_before_the_report_is_mended():
    assert main([*SWEEP, "--beta", "1", "4"]) == 0
    Path("a/beta=4/report.html").unlink()
    before = stamps("a")
    assert main([*SWEEP, "--beta", "1", "4"]) == 0
    assert Path("a/beta=4/report.html").exists() and before.items() <= stamps("a").items()


# --- what fails -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_run_that_diverges_is_marked_and_the_rest_go_on(capsys, monkeypatch, engine):
    build = build_model

    def broken(config, *arguments):
        model = build(config, *arguments)
        if (config.seed, config.beta) == (1, 0.5):
            with torch.no_grad():
                next(model.decoder.parameters()).fill_(math.nan)
        return model

    monkeypatch.setattr("pyro_vae.runs.train.build_model", broken)
    arguments = [*SWEEP, *BETAS, "--engine", engine]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert err == (
        f"pyro-vae: 1 of 4 runs failed, as failed.txt in their folders says: a/{NAMES[1]}; delete a"
        " folder to try its run again\n"
    )
    assert f"{NAMES[1]}: failed: the distortion is not finite at epoch 1, step 1; try" in out
    assert "(3 of 4 runs done, 1 failed)" in out
    reason = Path("a", NAMES[1], "failed.txt").read_text()
    assert reason.count("\n") == 1 and reason.endswith("last finite checkpoint: none yet\n")
    assert set(engines_of_runs()) == set(NAMES) - {NAMES[1]}
    before = stamps("a")
    assert main(arguments) == 1
    assert stamps("a") == before
    shutil.rmtree(Path("a", NAMES[1]))
    monkeypatch.setattr("pyro_vae.runs.train.build_model", build)
    assert main(arguments) == 0
    assert set(engines_of_runs()) == set(NAMES)


def test_a_failed_run_keeps_its_place_beside_those_that_go_on(monkeypatch):
    """The others are computed in a stack of the same size, killed or not."""
    stack, sizes = ensembles.Stack, []

    def noted(ensemble, numbers, size, *rest):
        sizes.append((len(numbers), size))
        return stack(ensemble, numbers, size, *rest)

    monkeypatch.setattr("pyro_vae.training.ensembles.Stack", noted)
    Path("a/seed=1").mkdir(parents=True)
    Path("a/sweep.yaml").touch()
    Path("a/seed=1/failed.txt").write_text("it diverged\n")
    pv.RunConfig(**SMALL, seed=1).save("a/seed=1/config.yaml")
    assert main([*SWEEP, "--seed", "0", "1", "2"]) == 1
    assert sizes == [(3, 3)] and set(engines_of_runs()) == {"seed=0", "seed=2"}
    assert sorted(p.name for p in Path("a/seed=1").iterdir()) == ["config.yaml", "failed.txt"]


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_data_that_are_missing_fail_their_runs_alone(capsys, engine):
    data = ["--dataset", "digits", "absent.npy"]
    assert main([*SWEEP, *data, "--seed", "0", "1", "--engine", engine]) == 1
    err = capsys.readouterr().err
    assert "2 of 4 runs failed" in err and err.count("\n") == 1
    assert "a/dataset=absent,seed=0, a/dataset=absent,seed=1;" in err
    for seed in (0, 1):
        reason = Path(f"a/dataset=absent,seed={seed}/failed.txt").read_text()
        assert reason.startswith("dataset: there is no file or folder") and reason.count("\n") == 1
        assert pv.RunConfig.load(f"a/dataset=absent,seed={seed}/config.yaml").seed == seed
    assert set(engines_of_runs()) == {"dataset=digits,seed=0", "dataset=digits,seed=1"}


def test_a_damaged_checkpoint_fails_its_run_alone():
    assert main([*SWEEP, "--seed", "0", "1", "2"]) == 0
    for seed in range(2):
        Path(f"a/seed={seed}/summary.json").unlink()
    Path("a/seed=0/checkpoints/last.pt").write_bytes(b"garbage")
    assert main([*SWEEP, "--seed", "0", "1", "2"]) == 1
    assert "last.pt cannot be read" in Path("a/seed=0/failed.txt").read_text()
    assert set(engines_of_runs()) == {"seed=1", "seed=2"}


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_full_disk_is_no_runs_fault(capsys, monkeypatch, engine):
    arguments = [*SWEEP, *BETAS, "--engine", engine]
    with monkeypatch.context() as disk:
        writes = iter(range(9))

        def full(*paths):
            if next(writes, None) is None:
                raise OSError(28, "No space left on device")
            return replace(*paths)

        replace = os.replace
        disk.setattr("os.replace", full)
        assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error and error.count("\n") == 1
    assert list(Path("a").rglob("failed.txt")) == []
    assert main(arguments) == 0


def test_no_more_than_three_failed_runs_are_named(capsys):
    values = ["--dataset", "absent.npy", "--seed", *map(str, range(5))]
    assert main([*SWEEP, *values]) == 1
    error = capsys.readouterr().err
    assert "5 of 5 runs failed" in error and "a/seed=2 and 2 more; delete" in error


# --- what is refused --------------------------------------------------------------------------------

WRONG = [
    (["sweep", "--beta", "1"], "the following arguments are required: --out"),
    (["sweep", "--out", "a", "--betas", "1"], "unknown argument --betas; did you mean --beta?"),
    (["sweep", "--out", "a", "--beta"], "argument --beta: expected at least one argument"),
    (["sweep", "--out", "a", "--beta", "1", "x"], "beta: expected a number, got 'x'"),
    (["sweep", "--out", "a", "--objective", "elbo", "iwae", "--beta", "1", "4"],
     "combination objective=iwae,beta=4: "),
    (["sweep", "--out", "a", "--config", "none.yaml"], "config: none.yaml cannot be read"),
    (["sweep", "--out", "a", "--config", "key.yaml"], "config: key in key.yaml: unknown name 'betta'"),
    (["sweep", "--out", "a", "--config", "empty.yaml"], "beta: expected one value at least, got none"),
    (["sweep", "--out", "file"], "out: file is there already, and is not a folder"),
    (["sweep", "--out", "folder"], "out: folder is no sweep: it has no sweep.yaml"),
    (["sweep", "--out", "old", "--seed", "0", "1", "--epochs", "9"],
     "out: epochs is 3 in old/seed=0, got 9; name another folder"),
]  # fmt: skip


@pytest.mark.parametrize("arguments, message", WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_what_is_refused_writes_nothing(tmp_path, capsys, arguments, message):
    Path("key.yaml").write_text("betta: 1")
    Path("empty.yaml").write_text("beta: []")
    Path("file").write_text("mine")
    Path("folder").mkdir(), Path("folder/thesis.tex").write_text("mine")
    Path("old/seed=0").mkdir(parents=True), Path("old/sweep.yaml").write_text("seed: 0")
    pv.RunConfig(epochs=3).save("old/seed=0/config.yaml")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and err.startswith("pyro-vae: ") and out == ""
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_a_machine_that_cannot_is_told_first(capsys, monkeypatch):
    monkeypatch.setattr("pyro_vae.training.engines.missing_compiler", lambda: "no C++ compiler (g++)")
    assert main([*SWEEP, "--engine", "eager", "compiled"]) == 2
    assert "engine: no C++ compiler (g++), which compiled needs" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["sweep", "--out", "a", "--device", "cpu", "cuda"]) == 2
        assert "torch finds no CUDA device" in capsys.readouterr().err
    assert not Path("a").exists()


def test_the_help_says_what_a_sweep_does(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as status:
        main(["sweep", "--help"])
    out = capsys.readouterr().out
    assert status.value.code == 0 and max(map(len, out.splitlines())) <= 80
    flags = {f"--{name.replace('_', '-')}" for name in pv.RunConfig.__dataclass_fields__}
    assert flags <= set(out.replace(",", " ").split())
    assert "--beta BETA [BETA ...]" in out and "goes on when the same command" in out
