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

import sklearn.datasets  # noqa: F401

try:
    import pyro_vae.cli.training
    import pyro_vae.runs.evaluate  # noqa: F401
    from pyro_vae.cli.main import main
    from pyro_vae.training import engines
except ImportError:  # the layout of version 0.1.0's first commits, to compare with
    from pyro_vae import engines
    from pyro_vae.cli import main

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


PICTURE = bytes.fromhex("89504e470d0a1a0a") + bytes(1000)


def draw_nothing() -> None:
    """Write every picture as a few bytes: it is the files that are attacked, not the drawing."""
    from unittest.mock import MagicMock

    from pyro_vae.comparison import plots
    from pyro_vae.files import replace_file
    from pyro_vae.runs import pictures, report
    from pyro_vae.runs.folder import RunFolder

    for name in ("one_run", "codes", "grid", "reconstruction_grid", "beside"):
        setattr(pictures, name, MagicMock())
    report.one_run = MagicMock()
    report.component_panels = MagicMock(return_value=(None, None))
    report.drawn = plots.drawn = lambda figure, description: ""

    def save_figure(self, name, figure):
        replace_file(self.figures / f"{name}.png", PICTURE)

    RunFolder.save_figure = RunFolder.save_png = RunFolder.save_picture = save_figure


def stacked() -> None:
    """Train sweeps in one batched step, without inductor."""

    def as_it_is(step, device):
        return step

    if hasattr(engines, "Compiled") and hasattr(engines.Compiled, "compile"):
        engines.Compiled.compile = staticmethod(as_it_is)
    else:
        from pyro_vae import ensembles

        engines.compile_step = ensembles.compile_step = as_it_is
    engines.STEPS_THAT_PAY = {"cpu": {"eager": 0, "compiled": 1}}
    draw_nothing()


def stacked_arguments() -> list[str]:
    """The arguments of a sweep that is trained in one batched step."""
    place = SWEEP.index("--engine")
    return [*SWEEP[:place], "--engine", "auto", *SWEEP[place + 2 :]]


def quick_measures() -> None:
    """Have `evaluate --quick` take as little as goes."""
    with contextlib.suppress(ImportError):
        from pyro_vae.measures.part import Effort
        from pyro_vae.runs import evaluate

        few = {"bound_samples": 20, "temperatures": 20, "refit_steps": 20, "nuts_draws": 20}
        few |= {"simulations": 60, "walkers": 64, "chains": 4}
        evaluate.QUICK = Effort(**(vars(evaluate.QUICK) | few))


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


def vanished_reader() -> None:
    """Standard output is a pipe whose reader reads a line and goes."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    os.dup2(writing, 1)
