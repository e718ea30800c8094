"""Observers of a sweep, which are called at its events."""

from pyro_vae.notices import notice
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.observer import Observer
from pyro_vae.sweeps.folder import Member
from pyro_vae.training.epochs import Record


class SweepObserver:
    """An observer of a sweep; override the methods of the events that you need.

    By default `notice` gives a warning, and the methods of all other events do nothing.

    Args:
        interrupts: the signals that end training after the current step; its state is then saved.
    """

    def __init__(self, interrupts: Interrupts | None = None):
        self.interrupts = interrupts

    def started(self, members: list[Member]) -> None:
        """Called once before the sweep of these runs begins or resumes."""

    def notice(self, message: str) -> None:
        """Called with a message for the user (default: give it as a Python warning)."""
        notice(message)

    def epoch(self, name: str, record: Record, last: bool) -> None:
        """Called after each epoch of a run; `last` says whether its training ends with it."""

    def ended(self, member: Member) -> None:
        """Called when a run is finished or has failed."""


class MemberObserver(Observer):
    """An observer that reports a run to a sweep's observer, and marks the run if it fails."""

    def __init__(self, sweep: SweepObserver, member: Member):
        super().__init__(sweep.interrupts)
        self.sweep, self.member = sweep, member

    def notice(self, message: str) -> None:
        self.sweep.notice(message)

    def epoch(self, record: Record, last: bool) -> None:
        self.sweep.epoch(self.member.name, record, last)

    def failed(self, error: Exception) -> None:
        self.member.fail(error)
        self.sweep.ended(self.member)

    def finished(self) -> None:
        self.sweep.ended(self.member)
