"""Standard output that may vanish: a reader that has gone ends the lines, not the work."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from textwrap import fill

ERASE_LINE = "\r\x1b[2K"


def say(text: str) -> None:
    """Print a line, and from then on nothing where nobody reads it any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # as in `pyro-vae train | head -1`
        silence()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Inside, a terminal shows that something is loaded; nothing of it stays."""
    shown = sys.stderr is not None and sys.stderr.isatty()
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


def replace_unknown() -> None:
    """Print a question mark for each character that the encoding of standard output lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # a stream that has become another one
            sys.stdout.reconfigure(errors="replace")


def silence() -> None:
    """Send all that is still printed to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
