"""The progress of an evaluation: a line for each part that is done, a bar for the one at work."""

import sys
import threading
import time
from contextlib import suppress
from typing import Any

from tqdm import tqdm

TICK = 1.0  # seconds between two drawings of the bar


class MeasuringProgress:
    """Shows on standard error which part is at work, and what became of the others.

    On a terminal a bar shows the time that the part has left. A thread draws it again every second,
    so that the time runs on while the part reports nothing. Without a terminal there is a line for
    each part that is done.

    Args:
        parts: the names of the parts that are measured, in their order.
    """

    def __init__(self, parts: list[str]):
        self.parts = parts
        self.part = parts[0]
        self.started = self.reported = time.monotonic()
        self.left: float | None = None  # seconds from `reported` on, where they are known
        self._ended = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)
        self._bar: tqdm | None = None

    def __enter__(self) -> "MeasuringProgress":
        self._bar = tqdm(total=1.0, leave=False, disable=None, dynamic_ncols=True, bar_format=" ")
        if not self._bar.disable:
            self._clock.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._clock.is_alive():
            self._clock.join()
        self._bar.close()

    def report(self, part: str, done: float) -> None:
        """Take note that a fraction of a part is done."""
        now = time.monotonic()
        if part != self.part or done == 0:
            self.part, self.started, self.left = part, now, None
        if done > 0:
            self.left = (now - self.started) * (1 - done) / done
        self.reported, self._bar.n = now, done
        if done == 0:
            self._draw()

    def measured(self, part: str, figures: dict[str, Any] | None) -> None:
        """Print the line of a part that is done."""
        seconds = time.monotonic() - self.started
        result = tqdm.format_interval(seconds)
        if figures is None:
            result = "does not apply"
        elif "left_out" in figures:
            result = "left out"
        tqdm.write(f"{self._number(part)}  {part:{self._width}}  {result}", file=sys.stderr)

    def line(self) -> str:
        """Return the format of the bar: the part, its number, and the time left or elapsed."""
        now = time.monotonic()
        elapsed = tqdm.format_interval(now - self.started)
        clock = f"{elapsed} so far"
        if self.left is not None:
            left = max(0.0, self.left - (now - self.reported))
            clock = f"{tqdm.format_interval(left)} left"
        return f"{self._number(self.part)}  {self.part:{self._width}} |{{bar}}| {clock}"

    @property
    def _width(self) -> int:
        return max(map(len, self.parts))

    def _number(self, part: str) -> str:
        return f"{self.parts.index(part) + 1} of {len(self.parts)}"

    def _tick(self) -> None:
        with suppress(OSError, ValueError):  # the terminal has gone
            while not self._ended.wait(TICK):
                self._draw()

    def _draw(self) -> None:
        self._bar.bar_format = self.line()
        self._bar.refresh()
