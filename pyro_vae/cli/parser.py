"""How arguments are read: the flags that a command declares, and errors of one line."""

import argparse
import difflib
import math
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, fields
from importlib.metadata import version
from typing import Any, NamedTuple, NoReturn

from pyro_vae.names import PARTS, check_name
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.settings import setting_text

EXAMPLES = """examples:
  pyro-vae train --out runs/first
  pyro-vae sweep --out runs/betas --beta 0.25 1 4
  pyro-vae evaluate runs/first
  pyro-vae explore runs/first
  pyro-vae sample runs/first --out samples.png
  pyro-vae compare runs --out comparison
  pyro-vae datasets mnist
  pyro-vae COMMAND --help"""
PATHS = ("DIR", "FILE", "PATH", "RUN")  # words for values whose `~` a shell leaves as it is after =
GROUPS = {  # the first setting of each group of flags
    "dataset": "data",
    "model": "model",
    "objective": "objective",
    "epochs": "training",
    "seed": "run",
}


class Flag(NamedTuple):
    """An argument of a command, the options with which argparse reads it, and its group's title."""

    name: str
    options: dict[str, Any]
    group: str = ""


def value(name: str, help: str, **options: Any) -> Flag:
    """Return an argument or a flag that takes a value, which a capital word after its name calls."""
    name, _, metavar = name.partition(" ")
    own = name.upper() if not name.startswith("-") else None
    read = {"type": os.path.expanduser} if (metavar or own) in PATHS else {}  # of --out=~/runs
    return Flag(name, read | {"metavar": metavar or own, "help": help} | options)


def switch(name: str, help: str, **options: Any) -> Flag:
    """Return a flag that takes no value."""
    return Flag(name, {"action": "store_true", "help": help} | options)


def settings_flags(**options: Any) -> list[Flag]:
    """Return a flag for each field of `RunConfig`; a setting that is not given has no value."""
    flags, group = [], ""
    for f in fields(RunConfig):
        group = GROUPS.get(f.name, group)
        own = {"metavar": f.name.split("_")[-1].upper(), "help": _help(f), "dest": f.name}
        name = f"--{f.name.replace('_', '-')}"
        flags.append(Flag(name, own | {"default": argparse.SUPPRESS} | options, group))
    return flags


def _help(f: Field) -> str:
    choices = f.metadata["choices"]
    one_of = f"; one of {', '.join(choices)}" if choices else ""
    default = "" if f.default is None else f" (default: {setting_text(f.default)})"
    return f"{f.metadata['help']}{one_of}{default}"


class Command(NamedTuple):
    """A command: its summary and flags, what carries it out, and what checks its flags before."""

    summary: str
    flags: Sequence[Flag]
    run: Callable[[Namespace, Interrupts], None]
    check: Callable[[Namespace], None] | None = None
    usage: str | None = None  # of a command with a flag for each setting
    epilog: str | None = None


# --- values ---------------------------------------------------------------------------------------


def checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a function whose errors are messages of argparse, which names the flag itself."""

    def read_checked(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix("value: ")) from error

    return read_checked


def whole(low: int) -> Callable[[str], int]:
    """Return a function that reads a whole number of at least `low`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise ValueError(f"expected a whole number >= {low}, got {text!r}")
        return int(text)

    return checked(read)


def number_over_zero(text: str) -> float:
    """Return the finite number over 0 that a text is, or raise a ValueError."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise ValueError(f"expected a number over 0, got {text!r}")
    return number


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    """Return a function that reads one of the known names."""
    return checked(lambda text: check_name("value", text, known))


# --- the command line -----------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises a ValueError of one line for every error."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs | {"allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def add(self, flags: Iterable[Flag]) -> None:
        """Add flags to their groups."""
        groups: dict[str, argparse._ActionsContainer] = {"": self}
        for flag in flags:
            if flag.group not in groups:
                groups[flag.group] = self.add_argument_group(flag.group)
            groups[flag.group].add_argument(flag.name, **flag.options)


def parsers(commands: Mapping[str, Command]) -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the command line, and the parser of each command by its name."""
    description = "A laboratory for variational autoencoders."
    parser = Parser(prog="pyro-vae", description=description, epilog=EXAMPLES)
    parser.add([switch("--debug", "show tracebacks")])
    parser.add_argument("--version", action="version", version=f"pyro-vae {version('pyro_vae')}")
    choices = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    each = {}
    for name, command in commands.items():
        each[name] = choices.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            usage=command.usage,
            epilog=command.epilog,
        )
        debug = switch("--debug", "show tracebacks", default=argparse.SUPPRESS)
        each[name].add([*command.flags, debug])
    return parser, each


def parse(commands: Mapping[str, Command], arguments: Sequence[str]) -> Namespace:
    """Return the command and the values of its flags.

    Raises:
        ValueError: an unknown command or flag, or a value that does not fit.
    """
    parser, each = parsers(commands)
    arguments = _parts_joined(arguments)
    words = [a for a in arguments if not a.startswith("-")]
    if words:
        check_name("command", words[0], commands)
    parsed, unknown = parser.parse_known_args(arguments)
    if parsed.command is None:
        raise ValueError(f"expected a command: {', '.join(commands)}; see pyro-vae --help")
    if unknown:
        flags = [flag for a in each[parsed.command]._actions for flag in a.option_strings]
        known = [flag.removeprefix("--") for flag in flags if flag.startswith("--")]
        near = difflib.get_close_matches(unknown[0].split("=")[0].lstrip("-"), known, n=1)
        see = f"see pyro-vae {parsed.command} --help"
        raise ValueError(
            f"unknown argument {unknown[0]}; {f'did you mean --{near[0]}?' if near else see}"
        )
    return parsed


def _parts_joined(arguments: Sequence[str]) -> list[str]:
    """Return arguments in which the parts after `--only` are one word; a run may follow them."""
    joined: list[str] = []
    for word in arguments:
        if joined[-2:-1] == ["--only"] and word.rstrip(",") in PARTS:
            joined[-1] = f"{joined[-1].rstrip(',')},{word}"
        else:
            joined.append(word)
    return joined
