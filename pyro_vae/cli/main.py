"""The entry point, which turns every error into one line and an exit status."""

import os
import signal
import sys
import warnings
from collections.abc import Sequence

from pyro_vae.cli.commands import COMMANDS
from pyro_vae.cli.output import open_streams, plain, replace_unknown, silence
from pyro_vae.cli.parser import parse
from pyro_vae.notices import Notice
from pyro_vae.runs.interrupts import Interrupted, Interrupts

LONGEST = 600  # characters of an error: of another library's, the first ones say enough


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0: done. 1: the run failed. 2: a wrong argument or unreadable input. 130: Ctrl-C. 141: nobody reads
    the output. 143: SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    ranks = None
    open_streams()
    replace_unknown()
    try:
        ranks = _launched()
        with Interrupts() as interrupts, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of other libraries
            warnings.simplefilter("always", Notice)
            warnings.showwarning = lambda message, *_, **__: _complain(message, ranks)
            parsed = parse(COMMANDS, arguments)
            if ranks and parsed.command != "train":
                raise ValueError(f"{parsed.command}: runs in one process; leave torchrun out")
            parsed.ranks = ranks
            command = COMMANDS[parsed.command]
            if command.check:
                command.check(parsed)
            command.run(parsed, interrupts)
            sys.stdout.flush()
        return 0
    except Interrupted as error:
        return _end(ranks, 128 + error.signal, str(error))
    except BrokenPipeError:  # the reader closed the pipe, as in `pyro-vae datasets | head -1`
        silence()
        return 128 + signal.SIGPIPE
    except Exception as error:
        if "--debug" in arguments:
            raise
        status = 2 if isinstance(error, ValueError) else 1
        return _end(ranks, status, str(error).strip() or type(error).__name__)


def _launched():
    """Return the ranks that a launcher started together, or None where this process is alone."""
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    from pyro_vae.training.processes import Ranks  # needs torch

    return Ranks.launched()


def _complain(message: object, ranks=None) -> None:
    if ranks is None or ranks.first:
        text = plain(" ".join(str(message).split()))
        print(f"pyro-vae: {text[:LONGEST]}{'...' * (len(text) > LONGEST)}", file=sys.stderr)


def _end(ranks, status: int, message: str) -> int:
    """Say why the command ends, from one process only, and return the exit status of all."""
    if ranks is not None:
        return ranks.last_words(status, lambda: _complain(message))
    _complain(message)
    return status
