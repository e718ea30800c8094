"""Who is told of a run while it goes on."""

import warnings

from pyro_vae.data import Dataset
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.training.loop import Record, Training


class Observer:
    """Is told of a run while it goes on; override what you need, the methods do nothing else.

    Args:
        interrupts: signals that end training after its step, when all of it has been saved.
    """

    def __init__(self, interrupts: Interrupts | None = None):
        self.interrupts = interrupts

    def started(
        self, folder: RunFolder, config: RunConfig, data: Dataset, training: Training
    ) -> None:
        """Training is about to begin, or to be resumed."""

    def notice(self, message: str) -> None:
        """Something that the user should know; it is a Python warning unless this is overridden."""
        warnings.warn(message, stacklevel=3)

    def epoch(self, record: Record, last: bool) -> None:
        """An epoch is done and saved; `last` says whether training is over with it."""

    def measuring(self, done: float) -> None:
        """The trained model is being measured, of which a fraction is done."""

    def failed(self, error: Exception) -> None:
        """The run has failed, as when training diverges."""

    def finished(self) -> None:
        """The run folder is complete."""

    def should_stop(self) -> bool:
        """Return whether a signal has asked training to stop."""
        return self.interrupts is not None and self.interrupts.pending is not None
