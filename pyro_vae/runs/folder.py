"""What a run may do with a folder: begin in it, resume what is there, and lock it meanwhile."""

import dataclasses
import fcntl
import os
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from pyro_vae.files import PART, check_path_name, exists, read_file, replace_file
from pyro_vae.names import is_path
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.metrics import drop_rows_after
from pyro_vae.runs.run import Run
from pyro_vae.settings import PLACE

MAY_CHANGE_ON_RESUME = ("epochs", *PLACE)
MEASURED = ("likelihood.csv", "validation_likelihood.csv", "posterior.nc")  # by an evaluation


def free_folder(config: RunConfig) -> Path:
    """Create and return the first free `runs/DATASET-LIKELIHOOD-NUMBER`."""
    number = 1
    while True:
        folder = Path("runs", f"{config.data_name}-{config.kind}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def check_free(run: Run, overwrite: bool = False) -> None:
    """Check that a run may begin in its folder.

    Raises:
        ValueError: it exists already, unless it may be overwritten; it is not a run's; its name
            cannot be written into a file.
    """
    check_path_name("out", run.folder)
    if not exists(run.folder):
        return
    if not run.folder.is_dir():
        raise ValueError(f"out: {run.folder} is there already, and is not a folder")
    if not overwrite:
        raise ValueError(
            f"out: {run.folder} is there already; name another folder, resume its run with"
            " --resume, or replace it with --overwrite"
        )
    if visible_entries(run.folder) and not run.config_file.exists():
        raise ValueError(
            f"out: {run.folder} is not a run folder: it has no config.yaml; left as it is"
        )


def visible_entries(path: Path) -> list[Path]:
    """Return what lies in a folder, sorted, without locks and files that are being written."""
    if not exists(path):
        return []
    visible = (p for p in path.iterdir() if not p.name.startswith(".") and p.suffix != PART)
    return sorted(visible)


def settings_to_resume(
    run: Run, config: RunConfig, may_change: tuple[str, ...] = MAY_CHANGE_ON_RESUME
) -> RunConfig:
    """Return the settings with which the run in a folder resumes.

    They are those asked for, with the folder's batch size where they have none. Own images that the
    folder knows again may have moved.

    Raises:
        ValueError: settings that differ from the folder's and may not change.
    """
    saved = Run(run.folder).config
    if is_path(saved.dataset) and is_path(config.dataset) and run.image_fingerprint:
        saved = saved.at(dataset=config.dataset)
    if config.batch_size is None:
        config = dataclasses.replace(config, batch_size=saved.batch_size)
    for f in fields(RunConfig):
        before, now = getattr(saved, f.name), getattr(config, f.name)
        if before != now and f.name not in may_change:
            raise ValueError(
                f"out: {f.name} is {before} in {run.folder}, got {now};"
                f" only {', '.join(may_change)} may change: name another folder"
            )
    return config


def start_folder(run: Run) -> None:
    """Delete the files of an earlier run in the folder, and write the settings.

    Raises:
        ValueError: something else is in the place of one of them; nothing is deleted then.
    """
    folders = [
        path for path in (run.checkpoints, run.figures, run.measured) if os.path.lexists(path)
    ]
    results = (run.summary_file, run.evaluation_file, run.report, run.explorer, run.per_image_file)
    measured = (run.folder / name for name in MEASURED)
    files = (run.metrics_file, run.failure_file, run.parts_file, *results, *measured)
    others = [path for path in folders if path.is_symlink() or not path.is_dir()]
    others += [path for path in files if path.is_dir() and not path.is_symlink()]
    if others:
        raise ValueError(f"out: {others[0]} is not what a run writes; move it elsewhere first")
    for folder in folders:
        shutil.rmtree(folder)
    for file in files:
        file.unlink(missing_ok=True)
    _delete_parts(run)
    run.config.save(run.config_file)  # after deleting: no old checkpoints beside new settings
    run.checkpoints.mkdir()
    run.figures.mkdir()


def resume_folder(run: Run, epoch: int) -> None:
    """Prepare the folder for a run that has finished `epoch` epochs and is to resume.

    Rows of later epochs are deleted. Final results stay until their successors are written.

    Raises:
        ValueError: a file that is not a table of metrics; nothing is changed then.
    """
    drop_rows_after(run.metrics_file, epoch)
    run.config.save(run.config_file)
    run.failure_file.unlink(missing_ok=True)
    _delete_parts(run)
    run.figures.mkdir(exist_ok=True)


def _delete_parts(run: Run) -> None:
    """Delete files that a killed process has begun to write."""
    inside = [path for path in (run.checkpoints, run.figures) if not path.is_symlink()]
    for folder in (run.folder, *inside):
        for part in folder.glob(f".{'[0-9a-f]' * 16}{PART}"):
            part.unlink(missing_ok=True)


# --- the lock: one process at a time writes to a folder --------------------------------------------

LOCK, HOLDER = ".lock", ".holder"
SWEEP_FILE = "sweep.yaml"  # what a sweep's folder holds
LONGEST_NAME = 1000  # bytes of a holder
PATIENCE = 10.0  # seconds, for what takes a moment: the holder's name, another process's check
PAUSE = 0.01  # seconds between two looks


class FolderInUse(ValueError):
    """The error that another process, the `holder`, writes to a folder."""

    def __init__(self, message: str, holder: str = "another process"):
        super().__init__(message)
        self.holder = holder


class FolderLock:
    """The lock of a run folder or of a sweep's folder.

    It is a `flock` on the file `.lock` in the folder. The file stays; only the lock counts. The
    kernel releases it when the process ends, also by SIGKILL; one that was forked meanwhile holds it
    as well. The file `.holder` says who holds it.

    On NFS (Linux 2.6.12 or newer) the lock holds between machines, and on Lustre if it is mounted
    with `-o flock`. A file system without `flock` raises an OSError, and nothing is written there.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._descriptor: int | None = None
        self._shared = False

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, wait: float = 0, shared: bool = False) -> "FolderLock":
        """Take the lock of a folder that exists.

        Args:
            wait: how many seconds to wait for another process to release it.
            shared: whether other processes may hold it too, if all of them share it. Those that
                train the same sweep do.

        Raises:
            FolderInUse: another process holds it; the message says which.
            OSError: the file system has no locks, or the folder cannot be written.
        """
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if not _locked(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait):
                holder = _holder(self.folder)
                message = f"out: {self.folder} is in use by {holder}; wait until it has ended"
                raise FolderInUse(message, holder)
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            if shared:
                holder = f"a sweep that {holder} has joined"
            replace_file(self.folder / HOLDER, f"{holder}\n", lasting=False)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._shared = descriptor, shared
        return self

    def create(self) -> "FolderLock":
        """Create the folder and take its lock.

        Raises:
            FolderInUse: another process has created it in the meantime.
            OSError: the folder cannot be created, or the file system has no locks.
        """
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            raise FolderInUse(
                f"out: {self.folder} has just been created by another process; give the command again"
            ) from None
        return self.acquire(wait=PATIENCE)  # a rival may be looking whether the lock is held

    def release(self) -> None:
        """Give the lock back, if this object holds it."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            if not self._shared:  # others may still share it
                (self.folder / HOLDER).unlink(missing_ok=True)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also of processes that this one has forked
            os.close(descriptor)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def check_sweep_unused(folder: Path) -> None:
    """Raise a `FolderInUse` if a sweep that the run folder belongs to is being trained."""
    parent = folder.resolve().parent
    if (parent / SWEEP_FILE).exists() and (parent / LOCK).exists():
        FolderLock(parent).acquire().release()


def _locked(descriptor: int, kind: int, wait: float) -> bool:
    """Return whether a file could be locked within so many seconds."""
    until = time.monotonic() + wait
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(PAUSE)


def _holder(folder: Path) -> str:
    """Return who holds the lock; whoever has just taken it may still be writing that down."""
    until = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError, ValueError):
            if text := read_file(folder / HOLDER, LONGEST_NAME).decode().strip():
                return text
        if time.monotonic() > until:
            return "another process"
        time.sleep(PAUSE)
