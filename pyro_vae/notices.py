"""What a user hears meanwhile: notices, which are printed whatever the filters say, and progress."""

import warnings
from typing import Protocol


class Notice(UserWarning):
    """A message that the user of a run should know of, and that stops nothing."""


def notice(message: str) -> None:
    """Give a notice as a Python warning."""
    warnings.warn(message, Notice, stacklevel=3)


class Progress(Protocol):
    """A function that a measurement calls as it counts, for example images or temperatures.

    A measurement of several steps counts each of them from the start, in the unit of that step.
    """

    def __call__(self, done: int, total: int, unit: str) -> None:
        """Take note that `done` of `total` things of a kind are done; `unit` is their plural."""


def no_progress(done: int, total: int, unit: str) -> None:
    """Ignore the progress."""
