"""The progress of a measurement: a function that receives how many of what are done."""

from typing import Protocol


class Progress(Protocol):
    """A function that a measurement calls as it counts, for example images or temperatures.

    A measurement of several steps counts each of them from the start, in the unit of that step.
    """

    def __call__(self, done: int, total: int, unit: str) -> None:
        """Take note that `done` of `total` things of a kind are done; `unit` is their plural."""


def no_progress(done: int, total: int, unit: str) -> None:
    """Ignore the progress."""
