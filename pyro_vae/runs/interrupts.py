"""Ctrl-C and SIGTERM, handled when no work is half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The exception of work that a signal ended; `signal` is the number of the signal."""

    def __init__(self, number: int, note: str = ""):
        super().__init__(f"stopped by {signal.Signals(number).name}{note}")
        self.signal = number


class Interrupts:
    """The context `with Interrupts() as interrupts:`, which turns signals into `Interrupted`.

    Ctrl-C and SIGTERM raise it immediately, except under `deferred()`. There the first signal only
    sets `pending`, which the work checks where it can stop. The second one raises immediately.
    """

    def __init__(self):
        self.pending: int | None = None
        self.note = ""  # for the message to a user who stops the work now
        self._deferring = False

    def __enter__(self) -> "Interrupts":
        self._before = {s: signal.signal(s, self._receive) for s in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._deferring or self.pending is not None:
            raise Interrupted(number, self.note)
        self.pending = number

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold one signal back inside the block, and raise it at the end."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self.pending is not None:
            raise Interrupted(self.pending, self.note)
