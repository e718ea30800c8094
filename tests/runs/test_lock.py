"""One process at a time writes to a folder, however the others end."""

import os
import threading
import time
from pathlib import Path

import pytest

from pyro_vae.cli.main import main
from pyro_vae.runs.lock import FolderInUse, FolderLock
from tests.support.processes import PROCESSES
from tests.support.runs import TRAIN_QUICK, contents

pytestmark = pytest.mark.usefixtures("elsewhere")


def hold(folder, ready):
    """Hold the lock of a folder until this process is killed."""
    with FolderLock(Path(folder)).acquire():
        ready.set()
        time.sleep(60)


@pytest.fixture
def run(copy_run):
    return copy_run("a")


@pytest.fixture
def holder():
    """A process that holds the lock of the folder `a`."""
    Path("a").mkdir(exist_ok=True)
    ready = PROCESSES.Event()
    process = PROCESSES.Process(target=hold, args=(str(Path("a").resolve()), ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


@pytest.mark.slow
def test_a_second_holder_is_told_who_is_first(holder):
    message = f"a is in use by process {holder.pid} on {os.uname().nodename}; wait"
    with pytest.raises(FolderInUse, match=message):
        FolderLock(Path("a")).acquire()


@pytest.mark.slow
def test_the_kernel_releases_the_lock_of_a_killed_process(holder):
    holder.kill()
    holder.join()
    with FolderLock(Path("a")).acquire() as lock:
        assert lock.held and Path("a/.holder").read_text().startswith(f"process {os.getpid()} on")
    assert not lock.held and not Path("a/.holder").exists() and Path("a/.lock").exists()


def test_a_lock_is_shared_by_those_who_share_it(tmp_path):
    with FolderLock(tmp_path).acquire(shared=True):
        with (
            FolderLock(tmp_path).acquire(shared=True),
            pytest.raises(FolderInUse, match="a sweep that"),
        ):
            FolderLock(tmp_path).acquire()
        with pytest.raises(
            FolderInUse, match=f"a sweep that process {os.getpid()} on .* has joined"
        ):
            FolderLock(tmp_path).acquire()
    with FolderLock(tmp_path).acquire(), pytest.raises(FolderInUse, match="in use by process"):
        FolderLock(tmp_path).acquire(shared=True)


def test_a_lock_can_be_waited_for(tmp_path):
    lock = FolderLock(tmp_path).acquire()
    timer = threading.Timer(0.2, lock.release)
    timer.start()
    with FolderLock(tmp_path).acquire(wait=20):
        assert not timer.is_alive() or not lock.held


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    Path("a").mkdir()
    Path("a/.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        FolderLock(Path("a")).acquire()
    assert not Path(tmp_path, "elsewhere").exists()


def test_a_holder_says_who_it_is_without_waiting_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: pytest.fail("waits for the disk"))
    with FolderLock(tmp_path).acquire():
        assert f"process {os.getpid()}" in (tmp_path / ".holder").read_text()


def test_a_folder_that_another_process_has_just_created(tmp_path):
    Path(tmp_path, "a").mkdir()
    with pytest.raises(FolderInUse, match="a has just been created by another process; give the"):
        FolderLock(tmp_path / "a").create()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [*TRAIN_QUICK, "--epochs", "3", "--out", "a", "--resume"],
        [*TRAIN_QUICK, "--epochs", "3", "--out", "a", "--overwrite"],
        ["evaluate", "a", "--only", "latents", "--quick"],
    ],
    ids=["resume", "overwrite", "evaluate"],
)
def test_commands_leave_a_folder_in_use_alone(arguments, run, holder, capsys, no_pictures):
    before = contents(run)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"a is in use by process {holder.pid} on" in error
    assert contents(run) == before
    assert main(["report", "a"]) == 0  # which only reads


@pytest.mark.parametrize(
    "arguments",
    [
        [*TRAIN_QUICK, "--epochs", "1", "--out", "sweep/b"],
        ["sweep", "--out", "sweep", "--beta", "1", "2"],
    ],
    ids=["one of its runs", "another grid"],
)
def test_nothing_else_is_trained_beside_a_sweep(capsys, monkeypatch, arguments):
    monkeypatch.setattr("pyro_vae.sweeps.folder.WAIT", 0.05)
    Path("sweep").mkdir()
    Path("sweep/sweep.yaml").write_text("beta: 1\n")
    with FolderLock(Path("sweep")).acquire(shared=True):
        assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "sweep is in use by a sweep that process" in error and error.count("\n") == 1
    assert [p.name for p in Path("sweep").glob("[!.]*")] == ["sweep.yaml"]
    assert Path("sweep/sweep.yaml").read_text() == "beta: 1\n"
