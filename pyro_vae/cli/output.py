"""What a terminal shows: lines, and bars over epochs and over what a measurement counts."""

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from textwrap import fill
from typing import Any

from tqdm import tqdm

ERASE_LINE = "\r\x1b[2K"
EPOCHS = "{n}/{total} epochs |{bar}| {remaining} left{postfix}"
COUNTING = "{desc} |{bar}| {n} of {total} {unit}, {elapsed} so far"
UNCOUNTED = "{desc} {elapsed} so far"
CONTROLS = {code: "?" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
TICK = 1.0  # seconds between two drawings of a counting bar


def plain(text: str) -> str:
    """Return a text without what would steer a terminal, as names and files of others can hold."""
    return text.translate(CONTROLS)


def show(text: str) -> None:
    """Print a line."""
    print(plain(text))


def say(text: str) -> None:
    """Print a line, and from then on nothing where nobody reads it any more."""
    try:
        print(plain(text), flush=True)
    except BrokenPipeError:  # as in `pyro-vae train | head -1`
        silence()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Inside, a terminal shows that something is loaded; nothing of it stays."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"Loading {what} ...", end="", flush=True, file=sys.stderr)
    try:
        yield
    finally:
        if shown:
            print(ERASE_LINE, end="", flush=True, file=sys.stderr)


def wrapped(text: str, indent: int = 2) -> str:
    """Return a line in lines of under 80 characters; all but the first are indented."""
    options = {"break_long_words": False, "break_on_hyphens": False}
    return fill(text, 79, subsequent_indent=" " * indent, **options)


def open_streams() -> None:
    """Open streams that are closed from the start to nowhere, else files of a run would take them."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def replace_unknown() -> None:
    """Print a question mark for each character that the encoding of standard output lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # a stream that has become another one
            sys.stdout.reconfigure(errors="replace")


def silence() -> None:
    """Send all that is still printed to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- bars -----------------------------------------------------------------------------------------


def epochs_bar(total: int, done: int, **options: Any) -> tqdm:
    """Return a bar over epochs with the time that is left; off a terminal it shows nothing."""
    style = {"bar_format": EPOCHS, "disable": None, "dynamic_ncols": True}
    return tqdm(total=total, initial=done, **style, **options)


class CountingBar:
    """A bar of what a measurement counts, and of the time that it has taken.

    It is drawn again every second, so that the time runs on while nothing is counted. Off a terminal
    it shows nothing.
    """

    def __init__(self, name: str):
        options = {"disable": None, "dynamic_ncols": True, "leave": False, "delay": TICK}
        self._bar = tqdm(desc=name, bar_format=UNCOUNTED, **options)
        self._ended = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)
        if not self._bar.disable:
            self._clock.start()

    def count(self, done: int, total: int, unit: str) -> None:
        """Take note of what is done; the next drawing shows it."""
        self._bar.bar_format = COUNTING
        self._bar.n, self._bar.total, self._bar.unit = done, total, unit

    def close(self) -> None:
        """Remove the bar."""
        self._ended.set()
        if self._clock.is_alive():
            self._clock.join()
        self._bar.clear()  # which close leaves out of a bar that was only refreshed
        self._bar.close()

    def _tick(self) -> None:
        with suppress(OSError, ValueError):  # the terminal has gone
            while not self._ended.wait(TICK):
                self._bar.refresh()


class EvaluationProgress:
    """A bar for the part of an evaluation that is at work, and a line for each that is done.

    Args:
        parts: the names of the parts that are measured, in their order.
    """

    def __init__(self, parts: list[str]):
        self.parts = parts
        self.bar: CountingBar | None = None
        self.started = 0.0

    def count(self, part: str, done: int, total: int, unit: str) -> None:
        """Show how many of what a part has done; it begins with `total` 0 and what it costs."""
        if self.bar is None:
            print(wrapped(f"{self._title(part)}  {unit}", 8), file=sys.stderr)
            self.bar, self.started = CountingBar(self._title(part)), time.monotonic()
        if total:
            self.bar.count(done, total, unit)

    def measured(self, part: str, figures: dict[str, Any] | None) -> None:
        """Print the line of a part that is done."""
        self.close()
        result = tqdm.format_interval(time.monotonic() - self.started)
        if figures is None:
            result = "does not apply"
        elif "left_out" in figures:
            result = "left out"
        print(f"{self._title(part)}  {result}", file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def _title(self, part: str) -> str:
        width = max(map(len, self.parts))
        return f"{self.parts.index(part) + 1} of {len(self.parts)}  {part:{width}}"
