"""A trial: a command in a process of its own, with limits, and what it is run with."""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import sklearn.datasets  # noqa: F401  # imported here, so that no trial has to

import pyro_vae.cli.training  # noqa: F401
from pyro_vae.cli.main import main
from tests.support import seams

SECONDS, GIGABYTES = 60, 4.0
SMALL = ["--hidden", "8", "--latent-dim", "2", "--epochs", "6", "--engine", "eager"]
SMALL += ["--binarize", "dynamic", "--likelihood", "bernoulli"]
TRAIN = ["train", *SMALL]
SWEEP = ["sweep", *SMALL, "--beta", "0.5", "2", "--seed", "0", "1"]
STATUSES = {0, 1, 2, 130, 143}


class Ended(NamedTuple):
    """How a trial's process ended; the status is minus a signal's number where one killed it."""

    status: int
    out: str
    err: str
    seconds: float
    gigabytes: float

    def complaint(self) -> str:
        """What is wrong with the process itself, whatever it was to do; empty if nothing is."""
        lines = [line for line in self.err.splitlines() if not line.startswith("\r")]
        if self.seconds >= SECONDS:
            return f"took {self.seconds:.0f} s"
        if self.gigabytes > GIGABYTES:
            return f"took {self.gigabytes:.1f} GB"
        if self.status not in STATUSES:
            return f"ended with status {self.status}"
        if "Traceback" in self.err:
            return f"a traceback: {lines[-1][:100]}"
        if self.status in (1, 2) and (len(lines) != 1 or len(lines[0]) > 500):
            return f"expected one line of error, got {len(lines)}: {self.err[:100]!r}"
        return ""

    def failure(self) -> str:
        """What is wrong where the command was to succeed."""
        return self.complaint() or ("" if self.status == 0 else self.err.strip()[:160])


class Child:
    """A command in a forked process, its output in files beside the folder it works in."""

    def __init__(self, arguments: list[str], setup: Callable[[], None] = lambda: None):
        self.files = []
        for _ in range(2):
            descriptor, path = tempfile.mkstemp(prefix="campaign-")
            os.close(descriptor)
            self.files.append(Path(path))
        self.start = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(arguments, setup)

    def _run(self, arguments: list[str], setup: Callable[[], None]) -> None:
        status = 99
        try:
            os.setsid()
            for descriptor, path in zip((1, 2), self.files):
                os.dup2(os.open(path, os.O_WRONLY), descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            setup()
            status = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for the end, at most for the time that a trial has."""
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            seconds = time.monotonic() - self.start
            if pid:
                break
            if seconds > SECONDS:
                self.kill()
            time.sleep(0.002)
        out, err = (path.read_text(errors="replace") for path in self.files)
        for path in self.files:
            path.unlink()
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, out, err, seconds, usage.ru_maxrss / 2**20)


def run(arguments: list[str], setup: Callable[[], None] = lambda: None) -> Ended:
    """Run a command to its end."""
    return Child(arguments, setup).wait()


def stacked() -> None:
    """Train sweeps in one batched step, without inductor, and draw nothing."""
    seams.do_without_inductor()
    seams.set_steps_that_pay(1)
    seams.do_without_pictures()


def stacked_arguments() -> list[str]:
    """The arguments of a sweep that is trained in one batched step."""
    place = SWEEP.index("--engine")
    return [*SWEEP[:place], "--engine", "auto", *SWEEP[place + 2 :]]


def limit_files(size: int) -> None:
    """Have every file end at a size, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def intact(path: Path, before: bytes) -> bool:
    """Whether a file is the old one, or a new one that is whole."""
    content = path.read_bytes()
    if content == before:
        return True
    if path.suffix == ".json":
        with contextlib.suppress(ValueError):
            return bool(json.loads(content))
        return False
    return path.suffix in (".html", ".csv", ".yaml", ".png", ".pt", ".gif") and len(content) > 0
