"""Markdown of what the package declares once: commands, settings, measures; and of example pages.

conf.py makes a directive of each public function here, so that a page cannot fall behind the code.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields
from pathlib import Path

from pyro_vae.cli.commands import COMMANDS
from pyro_vae.cli.parser import parsers
from pyro_vae.measures import PARTS
from pyro_vae.names import DATASETS, LIKELIHOODS
from pyro_vae.names import PARTS as SUMMARIES
from pyro_vae.pages.wording import SUMMARY, Row
from pyro_vae.runs.config import RunConfig
from pyro_vae.settings import DataSettings, ModelSettings, TrainingSettings, meaning

KINDS = {
    "Images": DataSettings,
    "Model": ModelSettings,
    "Training": TrainingSettings,
}
EXAMPLES = Path(__file__).parent / "_build" / "extra" / "examples"


# --- commands -------------------------------------------------------------------------------------


def commands() -> list[str]:
    """Return every command with its usage, its arguments and its examples."""
    _, each = parsers(COMMANDS)
    lines = []
    for name, command in COMMANDS.items():
        summary = command.summary
        lines += [f"## pyro-vae {name}", "", f"{summary[0].upper()}{summary[1:]}.", ""]
        lines += _block(each[name].format_usage().removeprefix("usage: "))
        for group in each[name]._action_groups:
            lines += _arguments(group)
        if each[name].epilog:
            lines += _block(each[name].epilog)
    return lines


def _arguments(group: argparse._ArgumentGroup) -> list[str]:
    shown = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
    rows = [(f"`{_invocation(action)}`", _flags_as_code(action.help or "")) for action in shown]
    return [f"**{group.title}**", "", *_table(("argument", "meaning"), rows)] if rows else []


def _flags_as_code(text: str) -> str:
    return re.sub(r"(?<!\S)--[a-z-]+", lambda flag: f"`{flag.group()}`", text)


def _invocation(action: argparse.Action) -> str:
    """Return an argument as it is written: its name, or its flags and the name of their value."""
    if not action.option_strings:
        return str(action.metavar)
    flags = ", ".join(action.option_strings)
    value = action.metavar or action.dest.upper()
    return flags if action.nargs == 0 else f"{flags} {value}"


# --- settings and names ---------------------------------------------------------------------------


def settings() -> list[str]:
    """Return every setting with its type, its default, its range and its meaning."""
    lines = []
    for title, kind in KINDS.items():
        lines += [f"## {title}", "", *_settings(fields(kind))]
    of_runs = [f for f in fields(RunConfig) if f.name in ("device", "init_from")]
    return [*lines, "## Runs", "", *_settings(of_runs)]


def _settings(declared: Iterable[Field]) -> list[str]:
    rows = [(f"`{f.name}`", f"*{_type(f)}*: {meaning(f)}") for f in declared]
    return _table(("setting", "type and meaning"), rows)


def _type(f: Field) -> str:
    return f.type.__name__ if isinstance(f.type, type) else str(f.type)


def families() -> list[str]:
    """Return every likelihood family with a line about it."""
    return _table(("family", "p(x|z)"), [(f"`{name}`", LIKELIHOODS[name]) for name in LIKELIHOODS])


def datasets() -> list[str]:
    """Return every data set with a line about it."""
    return _table(("data set", "images"), [(f"`{name}`", DATASETS[name]) for name in DATASETS])


# --- measures -------------------------------------------------------------------------------------


def measures() -> list[str]:
    """Return every figure of `summary.json` and `evaluation.json`, with what to look for."""
    lines = ["## summary.json", "", *_measures("", SUMMARY)]
    for name, part in PARTS.items():
        summary = f"*{SUMMARIES[name][:1].upper()}{SUMMARIES[name][1:]}.*"
        lines += [f"## {name}: {part.title}", "", summary, "", part.look, ""]
        lines += _measures(f"{name}.", part.rows)
    return lines


def _measures(prefix: str, rows: Iterable[Row]) -> list[str]:
    columns = ("figure", "unit", "key", "best")
    return _table(
        columns, [(row.name, row.unit, f"`{prefix}{row.key}`", _best(row)) for row in rows]
    )


def _best(row: Row) -> str:
    return row.compared.best if row.compared else ""


# --- examples -------------------------------------------------------------------------------------


def examples() -> list[str]:
    """Return a link to each example page that this build of the site has."""
    pages = sorted(EXAMPLES.glob("*.html")) if EXAMPLES.exists() else []
    if not pages:
        return ["*This build of the site was made without its examples.*"]
    return [f'- <a href="../examples/{page.name}">The {page.stem}</a>' for page in pages]


# --- Markdown -------------------------------------------------------------------------------------


def _block(text: str) -> list[str]:
    return ["```text", *text.rstrip().splitlines(), "```", ""]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table; the bar in p(x|z) is no border of a cell."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return [*(f"| {' | '.join(line)} |" for line in cells), ""]


DIRECTIVES = (commands, settings, families, datasets, measures, examples)
