"""The progress of a measurement: a function that receives the fraction that is done."""

from collections.abc import Callable, Sequence
from functools import partial

Progress = Callable[[float], None]


def no_progress(fraction: float) -> None:
    """Ignore the progress."""


def in_shares(progress: Progress, shares: Sequence[float]) -> list[Progress]:
    """Return the progress functions of works that follow each other.

    Args:
        progress: the progress function of all of them together.
        shares: how much of the whole each work is, in any unit.
    """
    total = sum(shares)
    before = [sum(shares[:number]) for number in range(len(shares))]
    return [
        partial(_report, progress, start / total, share / total)
        for start, share in zip(before, shares)
    ]


def _report(progress: Progress, start: float, share: float, done: float) -> None:
    progress(start + share * done)
