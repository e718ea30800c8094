"""Standard output that may vanish: a reader that has gone ends the lines, not the work."""

import io
import os
import sys
from contextlib import suppress


def say(text: str) -> None:
    """Print a line, and from then on nothing where nobody reads it any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # as in `pyro-vae train | head -1`
        silence()


def replace_unknown() -> None:
    """Print a question mark for each character that the encoding of standard output lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # a stream that has become another one
            sys.stdout.reconfigure(errors="replace")


def silence() -> None:
    """Send all that is still printed to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
