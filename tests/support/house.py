"""The repository, and the rule of its rooms as a function of a table and of sources."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGE = "pyro_vae"
MODULE_NAME = re.compile(rf"{PACKAGE}(\.\w+)+(:\w+)?")  # a string like this is imported later

Table = Sequence[Sequence[str]]  # lines of rooms, those that import nothing first


def table_of_rooms(markdown: str) -> list[list[str]]:
    """The lines of rooms in a page: table rows whose first cell holds names in backticks alone."""
    lines = []
    for row in re.findall(r"^\|([^|]+)\|", markdown, re.M):
        names = re.findall(r"`(\w+)`", row)
        if names and not re.sub(r"`\w+`", "", row).strip():
            lines.append(names)
    return lines


def sources_of_package() -> dict[str, str]:
    """The text of every module of the package, by its dotted name."""
    sources = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        *parts, last = path.relative_to(ROOT).with_suffix("").parts
        top = not parts[1:]
        name = ".".join([*parts, last] if last != "__init__" or top else parts)
        sources[name] = path.read_text()
    return sources


def room_of(module: str) -> str:
    """The room of a module: the folder or file that it is, or lies in."""
    return module.split(".")[1]


def imports(source: str, modules: Mapping[str, str]) -> Iterator[str]:
    """The modules of the package that a source imports, wherever in it; `.` for a relative import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (_module(alias.name, modules) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "."
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield _module(f"{node.module}.{alias.name}", modules)
        elif isinstance(node, ast.Constant) and MODULE_NAME.fullmatch(str(node.value)):
            yield _module(node.value.partition(":")[0], modules)


def _module(name: str, modules: Mapping[str, str]) -> str:
    """The module that is imported for a dotted name: itself, or the one that the name is in."""
    if name.split(".")[0] != PACKAGE:
        return ""
    while name not in modules and name.count(".") > 1:
        name = name.rpartition(".")[0]
    known = name in modules or any(other.startswith(f"{name}.") for other in modules)
    return name if known and name != PACKAGE else f"{PACKAGE}.__init__"


def broken_rules(table: Table, sources: Mapping[str, str]) -> list[str]:
    """What is wrong with the imports of the modules; an empty list where nothing is.

    A room imports rooms on lines above its own only, and no room on its own line but itself. No
    room has a circle of imports inside. Imports are absolute. `__init__` may name every room.
    """
    lines = {room: number for number, line in enumerate(table) for room in line}
    wrong = [f"{m}: {room_of(m)} is no room" for m in sources if room_of(m) not in lines]
    inside: dict[str, set[str]] = {module: set() for module in sources}
    for module, source in sources.items():
        own = room_of(module)
        for other in filter(None, imports(source, sources)):
            if other == ".":
                wrong.append(f"{module}: a relative import")
            elif own == room_of(other):
                inside[module].add(other)
            elif own != "__init__" and not lines.get(room_of(other), len(table)) < lines.get(
                own, 0
            ):
                wrong.append(f"{module}: imports {other}, which stands on no line above")
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        wrong.append(f"circle: {' <- '.join(error.args[1])}")
    return wrong
