"""Observers of a run or a sweep, which are called at its events."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyro_vae.data import Dataset
from pyro_vae.notices import notice
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.training.epochs import Record
from pyro_vae.training.loop import Stopped, Training


class Listener:
    """What the observers of runs and of sweeps have in common: signals and messages."""

    def __init__(self, interrupts: Interrupts | None = None):
        self.interrupts = interrupts or Interrupts()  # which receives nothing before it is entered

    def notice(self, message: str) -> None:
        """Called with a message for the user (default: give it as a Python warning)."""
        notice(message)


class Observer(Listener):
    """An observer of a run; override the methods of the events that you need.

    By default `notice` gives a warning, and the methods of all other events do nothing.

    Args:
        interrupts: the signals that end training after the current step; its state is then saved
            (default: none).
    """

    def started(self, folder: Path, config: RunConfig, data: Dataset, training: Training) -> None:
        """Called once before training begins or resumes."""

    def prepared(self) -> None:
        """Called when the engine is ready, compiled if need be, and the first step is due."""

    def epoch(self, record: Record, last: bool) -> None:
        """Called after each epoch, with its metrics saved; `last` says whether training ends with it."""

    def measuring(self, done: int, total: int, unit: str) -> None:
        """Called while the trained model is measured: `done` of `total` are, such as images."""

    def failed(self, error: Exception) -> None:
        """Called when the run has failed, for example when training diverged."""

    def finished(self) -> None:
        """Called once when the run folder is complete."""

    def should_stop(self) -> bool:
        """Return whether a signal has asked training to stop."""
        return self.interrupts.pending is not None


@contextmanager
def failures_told(observers: Sequence[Observer]) -> Iterator[None]:
    """Tell the observers of an error that ends their runs inside the block; a stop is none."""
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        for observer in observers:
            observer.failed(error)
        raise
