"""Standard output that may vanish: a reader that has gone ends the lines, not the work."""

import os
import sys


def say(text: str) -> None:
    """Print a line, and from then on nothing where nobody reads it any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # as in `pyro-vae train | head -1`
        silence()


def silence() -> None:
    """Send all that is still printed to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
