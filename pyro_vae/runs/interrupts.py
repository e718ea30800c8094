"""Ctrl-C and SIGTERM, heard at a moment when nothing is half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal ended the work; `signal` is its number."""

    def __init__(self, number: int, note: str = ""):
        super().__init__(f"stopped by {signal.Signals(number).name}{note}")
        self.signal = number


class Interrupts:
    """`with Interrupts() as interrupts:` turns Ctrl-C and SIGTERM into `Interrupted`.

    They are raised at once, except under `deferred()`: there the first one only sets `pending`,
    which the work looks at where it can stop, and the second is raised at once.
    """

    def __init__(self):
        self.pending: int | None = None
        self.note = ""  # what a user who stops the work now should know
        self._deferring = self._patient = False

    def __enter__(self) -> "Interrupts":
        self._before = {s: signal.signal(s, self._receive) for s in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.pending is not None and not self._patient
        if not self._deferring or again:
            raise Interrupted(number, self.note)
        self.pending = self.pending or number

    @contextmanager
    def deferred(self, patient: bool = False) -> Iterator[None]:
        """Inside, one signal waits, and all that follow if `patient`; it is raised at the end."""
        self._deferring, self._patient = True, patient
        try:
            yield
        finally:
            self._deferring = False
        if self.pending is not None:
            raise Interrupted(self.pending, self.note)
