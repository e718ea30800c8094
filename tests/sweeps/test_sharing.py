"""Several processes train one sweep: each run once, and to the bits of a single process."""

import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.runs.lock import FolderInUse, FolderLock
from pyro_vae.runs.writer import RunWriter
from pyro_vae.sweeps.folder import SweepFolder
from pyro_vae.sweeps.grid import combinations, read_grid
from tests.support import seams
from tests.support.processes import PROCESSES, write_to
from tests.support.runs import assert_same_run
from tests.support.sweeps import BETAS, DYNAMIC, NAMES, SWEEP, Noting, written

pytestmark = pytest.mark.usefixtures("small_sweeps")
EAGER = [*SWEEP, *BETAS, "--engine", "eager"]


def sharing(folder, others, arguments):
    """In a process of its own, which waits in its first epoch for so many others to be there too.

    Each epoch adds a line to the file `epochs`; the file `kill` has the process of that number die
    in its second epoch.
    """
    os.chdir(folder)
    torch.set_num_threads(1)
    write_to("out", 1)
    write_to("err", 2)
    seams.do_without_pictures()
    seams.score_with_few_draws()
    add = RunWriter.add

    def add_and_wait(writer, record):
        add(writer, record)
        with open("epochs", "a") as file:
            file.write(f"{os.getpid()} {writer.run.name} {record.epoch}\n")
        while len({line.split()[0] for line in Path("epochs").read_text().splitlines()}) <= others:
            time.sleep(0.005)
        if (
            record.epoch == 2
            and Path("kill").exists()
            and Path("kill").read_text() == str(os.getpid())
        ):
            os.kill(os.getpid(), signal.SIGKILL)

    RunWriter.add = add_and_wait
    sys.exit(main(arguments))


def start(others, arguments=EAGER):
    process = PROCESSES.Process(target=sharing, args=(os.getcwd(), others, arguments))
    process.start()
    return process


def statuses(*processes):
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the same sweep in a single process."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        seams.do_without_pictures(patch.setattr)
        seams.score_with_few_draws(patch.setattr)
        assert main([*EAGER, "--out", str(folder)]) == 0
    return folder


def assert_as_one_process(whole):
    for name in NAMES:
        assert_same_run(f"a/{name}", f"{whole}/{name}")


@pytest.mark.slow
def test_two_processes_train_each_run_once_and_to_the_same_bits(whole):
    """Both start in a folder that is not there yet."""
    assert statuses(start(1), start(1)) == [0, 0]
    lines = [line.split() for line in Path("epochs").read_text().splitlines()]
    assert sorted(line[1:] for line in lines) == [[n, str(e)] for n in NAMES for e in (1, 2, 3)]
    assert len({pid for pid, *_ in lines}) == 2
    assert all(len({pid for pid, run, _ in lines if run == name}) == 1 for name in NAMES)
    assert_as_one_process(whole)
    assert "Comparison of 4 runs" in Path("a/report.html").read_text()
    out, err = Path("out").read_text(), Path("err").read_text()
    assert "All 4 runs are finished: look at a/report.html" in out
    assert len(re.findall(r"sweep: process \d+ on \S+ has runs of this sweep\n", err)) in (1, 2)
    assert not list(Path("a").glob("*/.holder"))


@pytest.mark.slow
@pytest.mark.parametrize("survivor", [True, False])
def test_the_runs_of_a_killed_process_are_resumed_to_the_same_bits(survivor, whole):
    """By the other process if there is one, and else by the same command."""
    doomed = start(int(survivor))
    Path("kill").write_text(str(doomed.pid))
    if survivor:
        assert statuses(doomed, start(1)) == [-signal.SIGKILL, 0]
    else:
        assert statuses(doomed) == [-signal.SIGKILL]
        assert main(EAGER) == 0
    assert_as_one_process(whole)


@pytest.mark.slow
def test_beside_a_process_that_trains_the_same_grid_alone_is_welcome(monkeypatch, capsys):
    monkeypatch.setattr("pyro_vae.sweeps.folder.WAIT", 0.05)
    process = start(1)  # it waits for another in its first epoch
    wait_for("epochs")
    before = Path("a/sweep.yaml").read_text()
    assert main([*EAGER, "--beta", "0.5", "2", "8"]) == 2
    said = f"a is in use by a sweep that process {process.pid} on {os.uname().nodename} has joined;"
    error = capsys.readouterr().err
    assert said in error and "give the values of a/sweep.yaml" in error and error.count("\n") == 1
    assert main(["train", "--out", f"a/{NAMES[3]}", "--resume"]) == 2
    assert Path("a/sweep.yaml").read_text() == before
    assert main(EAGER) == 0
    assert "Other processes had the last 1 of 4 runs; " in capsys.readouterr().out
    with open("epochs", "a") as file:
        file.write("0 0 0\n")
    assert statuses(process) == [0]
    assert main([*EAGER, "--beta", "0.5", "2", "8"]) == 0


# --- in one process, where two locks of a folder exclude each other as those of two processes do --------


def test_many_start_at_once_and_one_grid_wins(monkeypatch):
    """Of eight processes with one grid and eight with another, those of one grid are let in."""
    monkeypatch.setattr("pyro_vae.sweeps.folder.WAIT", 1.0)
    entered, refused = [], []
    everybody = threading.Barrier(16)

    def enter(betas):
        grid = read_grid({"beta": betas})
        everybody.wait()
        try:
            with SweepFolder("a").joined(grid, combinations(grid)):
                entered.append(betas)
                while len(entered) + len(refused) < 16:  # all of them at the same time
                    time.sleep(0.005)
        except FolderInUse as error:
            refused.append(str(error))

    grids = [[1.0, 2.0], [1.0, 4.0]] * 8
    threads = [threading.Thread(target=enter, args=(betas,)) for betas in grids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == len(refused) == 8 and len({tuple(betas) for betas in entered}) == 1
    assert all("or give the values of a/sweep.yaml" in error for error in refused)


@pytest.mark.slow
def test_a_unit_of_which_another_process_has_a_run_is_passed_over():
    """One stack is one unit, however the other process has cut the group."""
    Path("a/seed=1").mkdir(parents=True)
    Path("a/sweep.yaml").touch()
    observer = Noting()
    with (
        FolderLock(Path("a/seed=1")).acquire(),
        pytest.warns(UserWarning, match="has runs of this"),
    ):
        assert pv.sweep(DYNAMIC | {"seed": range(2)}, "a", observer=observer) == {
            "seed=0": None, "seed=1": None,
        }  # fmt: skip
    assert observer.told == [("started", [False, False])] and not written("a/seed=0", "a/seed=1")
    FolderLock(Path("a/seed=0")).acquire().release()  # nothing of the unit is held any more
    assert all(pv.sweep(DYNAMIC | {"seed": range(2)}, "a").values())


@pytest.mark.slow
def test_runs_that_another_process_ends_are_told_of_once():
    """And those that it has left are taken up."""
    grid = DYNAMIC | {"seed": range(3), "engine": "eager"}
    pv.sweep(grid, "other")
    locks = {n: FolderLock(Path("a", f"seed={n}")) for n in (0, 2)}
    for lock in locks.values():
        lock.folder.mkdir(parents=True)
        lock.acquire()
    Path("a/sweep.yaml").touch()

    class Ending(Noting):
        def ended(self, run):
            super().ended(run)
            if run.name == "seed=1":
                shutil.copytree("other/seed=2", "a/seed=2", dirs_exist_ok=True)
                locks[0].release()

    observer = Ending()
    with pytest.warns(UserWarning, match="has runs of this sweep"):
        assert all(pv.sweep(grid, "a", observer=observer).values())
    ended = [told[1] for told in observer.told if told[0] == "ended"]
    assert ended == ["seed=1", "seed=2", "seed=0"]
    trained = [(name, n, n == 3) for name in ("seed=1", "seed=0") for n in (1, 2, 3)]
    assert [told for told in observer.told if told in trained] == trained
    assert not [told for told in observer.told if told[0] == "seed=2"]
