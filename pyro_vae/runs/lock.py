"""One process at a time writes to a folder: a lock that the kernel releases however its holder ends."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pyro_vae.files import read_file, replace_file

LOCK, HOLDER = ".lock", ".holder"
SWEEP_FILE = "sweep.yaml"  # what a sweep's folder holds
LONGEST_NAME = 1000  # bytes of a holder
PATIENCE = 10.0  # seconds, for the holder's name to appear


class FolderInUse(ValueError):
    """Another process writes to the folder."""


class FolderLock:
    """The lock of a run folder or of a sweep's folder.

    It is an exclusive `flock` on the file `.lock` in the folder. The file stays; only the lock
    counts. The kernel releases it when the process ends, also by SIGKILL. The file `.holder` says
    who holds it.

    On NFS (Linux 2.6.12 or newer) the lock holds between machines, and on Lustre if it is mounted
    with `-o flock`. A file system without `flock` raises an OSError, and nothing is written there.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = FileLock(folder / LOCK, fallback_to_soft=False)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def acquire(self, wait: float = 0) -> "FolderLock":
        """Take the lock of a folder that exists.

        Args:
            wait: how many seconds to wait for another process to release it.

        Raises:
            FolderInUse: another process holds it; the message says which.
            OSError: the file system has no locks, or the folder cannot be written.
        """
        try:
            self._lock.acquire(timeout=wait)
        except Timeout:
            holder = _holder(self.folder)
            raise FolderInUse(
                f"out: {self.folder} is in use by {holder}; wait until it has ended"
            ) from None
        holder = f"process {os.getpid()} on {socket.gethostname()}\n"
        replace_file(self.folder / HOLDER, holder, lasting=False)
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
        if self.held:
            (self.folder / HOLDER).unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def check_unused(folder: Path, wait: float = 0) -> None:
    """Check that no process holds the lock of a folder; one that does not exist is unused.

    Args:
        wait: how many seconds to wait for a process that holds it.

    Raises:
        FolderInUse: one does.
    """
    if (folder / LOCK).exists():
        FolderLock(folder).acquire(wait).release()


def check_sweep_unused(folder: Path) -> None:
    """Check that no sweep that the run folder belongs to is being trained.

    Raises:
        FolderInUse: one is.
    """
    parent = folder.resolve().parent
    if (parent / SWEEP_FILE).exists():
        check_unused(parent)


def _holder(folder: Path) -> str:
    """Return who holds the lock; whoever has just taken it may still be writing that down."""
    until = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError, ValueError):
            if text := read_file(folder / HOLDER, LONGEST_NAME).decode().strip():
                return text
        if time.monotonic() > until:
            return "another process"
        time.sleep(0.01)
