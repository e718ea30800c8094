"""Who is told of a run while it goes on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pyro_vae.runs.interrupts import Interrupts

if TYPE_CHECKING:
    from pyro_vae.runs.train import Job
    from pyro_vae.training.loop import Record


class Observer:
    """Is told of a run while it goes on; override what you need, the methods do nothing else.

    Args:
        interrupts: signals that end training after its step, when all of it has been saved.
    """

    def __init__(self, interrupts: Interrupts | None = None):
        self.interrupts = interrupts

    def started(self, job: Job) -> None:
        """Training is about to begin, or to be resumed."""

    def notice(self, message: str) -> None:
        """Something that the user should know; it is a Python warning unless this is overridden."""
        warnings.warn(message, stacklevel=3)

    def epoch(self, record: Record, last: bool) -> None:
        """An epoch is done and saved; `last` says whether training is over with it."""

    def measuring(self, done: float) -> None:
        """The trained model is being measured, of which a fraction is done."""

    def failed(self, error: FloatingPointError) -> None:
        """Training diverged."""

    def finished(self) -> None:
        """The run folder is complete."""

    def should_stop(self) -> bool:
        """Return whether a signal has asked training to stop."""
        return self.interrupts is not None and self.interrupts.pending is not None
