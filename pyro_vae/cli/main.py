"""The entry point: parse, call, and turn every error into one line and an exit status."""

import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial

from pyro_vae.cli.parser import parse
from pyro_vae.runs.interrupts import Interrupted, Interrupts
from pyro_vae.training.processes import Ranks


def _complain(message: object) -> None:
    print(f"pyro-vae: {' '.join(str(message).split())}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 the run failed, 2 a wrong argument or unreadable
    input, 130 on Ctrl-C, 143 on SIGTERM."""
    arguments = sys.argv[1:] if arguments is None else arguments
    ranks = Ranks.launched()
    try:
        with Interrupts() as interrupts, warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: ranks.first and _complain(message)
            parsed = parse(arguments)
            if ranks.count > 1 and parsed.command != "train":
                raise ValueError(f"{parsed.command}: runs in one process; leave torchrun out")
            parsed.ranks = ranks
            parsed.function(parsed, interrupts)
            sys.stdout.flush()
        return 0
    except Interrupted as error:
        return ranks.last_words(128 + error.signal, partial(_complain, error))
    except BrokenPipeError:  # the reader has gone, as in `pyro-vae datasets | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in arguments:
            raise
        status = 2 if isinstance(error, ValueError) else 1
        message = str(error).strip() or type(error).__name__
        return ranks.last_words(status, partial(_complain, message))
