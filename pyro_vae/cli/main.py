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
    open_streams()
    replace_unknown()
    try:
        with Interrupts() as interrupts, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of other libraries
            warnings.simplefilter("always", Notice)
            warnings.showwarning = lambda message, *_, **__: _complain(message)
            parsed = parse(COMMANDS, arguments)
            if "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
                raise ValueError(f"{parsed.command}: runs in one process; leave torchrun out")
            command = COMMANDS[parsed.command]
            if command.check:
                command.check(parsed)
            command.run(parsed, interrupts)
            sys.stdout.flush()
        return 0
    except Interrupted as error:
        _complain(error)
        return 128 + error.signal
    except BrokenPipeError:  # the reader closed the pipe, as in `pyro-vae datasets | head -1`
        silence()
        return 128 + signal.SIGPIPE
    except Exception as error:
        if "--debug" in arguments:
            raise
        _complain(str(error).strip() or type(error).__name__)
        return 2 if isinstance(error, ValueError) else 1


def _complain(message: object) -> None:
    text = plain(" ".join(str(message).split()))
    print(f"pyro-vae: {text[:LONGEST]}{'...' * (len(text) > LONGEST)}", file=sys.stderr)
