"""Who is told of a sweep while it goes on."""

import warnings

from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.observer import Observer
from pyro_vae.sweeps.folder import Member
from pyro_vae.training.loop import Record


class SweepObserver:
    """Is told of a sweep while it goes on; override what you need, the methods do nothing else.

    Args:
        interrupts: signals that end training after its step, when all of it has been saved.
    """

    def __init__(self, interrupts: Interrupts | None = None):
        self.interrupts = interrupts

    def started(self, members: list[Member]) -> None:
        """Training is about to begin, or to be resumed, of these runs."""

    def notice(self, message: str) -> None:
        """Something that the user should know; it is a Python warning unless this is overridden."""
        warnings.warn(message, stacklevel=3)

    def epoch(self, name: str, record: Record, last: bool) -> None:
        """An epoch of a run is done; `last` says whether its training is over with it."""

    def ended(self, member: Member) -> None:
        """A run is finished, or has failed."""


class MemberObserver(Observer):
    """Tells a sweep's observer what happens to one run, and marks that run if it fails."""

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
