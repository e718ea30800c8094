"""One process at a time writes to a folder: a lock that the kernel releases however its holder ends."""

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from pyro_vae.files import read_file, replace_file

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
