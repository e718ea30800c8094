"""Parts of the user's own, of a model and of training, by import paths; torch is not imported here.

`file.py:Name` names an attribute of a Python file, `package.module:Name` one of a module.
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pyro_vae.files import read_file
from pyro_vae.names import check_name

OWN = (
    "dataset",
    "network",
    "likelihood",
    "posterior",
    "prior",
    "objective",
)  # settings that take an import path
LARGEST = 2**24  # bytes of a file of code


def is_import_path(value: object) -> bool:
    """Return whether a value is an import path, such as `mine.py:Net`, and not a name."""
    return isinstance(value, str) and ":" in value


def file_of(path: str) -> Path | None:
    """Return the file that an import path names; None where it names a module."""
    place = path.rpartition(":")[0]
    return Path(os.path.abspath(os.path.expanduser(place))) if place.endswith(".py") else None


def whole_path(value: str) -> str:
    """Return the value with the whole path of the file that it names, if it names one."""
    file = file_of(value)
    return value if file is None else f"{file}:{short_name(value)}"


def short_name(value: str) -> str:
    """Return a name itself, and of an import path what follows the colon."""
    return value.rpartition(":")[2]


def part(argument: str, value: str, known: Mapping[str, Any]) -> Any:
    """Return what a name stands for: one of the known, or what an import path leads to.

    A file's code is run once for each text that it has had.

    Args:
        argument: what the name was given for; it opens the message.

    Raises:
        ValueError: an unknown name; a file, a module or an attribute that there is not, or that
            cannot be imported.
    """
    if not is_import_path(value):
        return known[check_name(argument, value, known)]
    place, _, name = value.rpartition(":")
    try:
        file = file_of(value)
        module = importlib.import_module(place) if file is None else _run(file)
        found = getattr(module, name)
    except Exception as error:  # whatever the user's code raises
        raise ValueError(f"{argument}: {value} cannot be imported: {reason_of(error)}") from error
    if not callable(found):
        raise ValueError(f"{argument}: {value} is no class or function")
    return found


def made(argument: str, value: str, known: Mapping[str, Any], *arguments, **options) -> Any:
    """Return what the part that a name stands for gives when it is called; errors as of `part`."""
    maker = part(argument, value, known)
    try:
        return maker(*arguments, **options)
    except Exception as error:
        if not is_import_path(value):
            raise
        raise ValueError(f"{argument}: {value} fails: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Return why something of the user's own failed, in one line of 200 characters at most."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def tried(name: str, shape: tuple[int, ...], module: Callable, given: Any) -> Any:
    """Return what a part gives for two inputs, a tensor or a distribution.

    Raises:
        ValueError: it fails, or what it gives does not have this shape for each of the two.
    """
    try:
        found = module(given)
    except Exception as error:  # whatever a user's part raises
        raise ValueError(f"{name}: fails on {tuple(given.shape)}: {reason_of(error)}") from error
    batch = getattr(found, "batch_shape", None)
    sizes = tuple(found.shape) if batch is None else (*batch, *found.event_shape)
    batch = sizes[:1] if batch is None else tuple(batch)
    if sizes != (len(given), *shape) or batch != (len(given),):
        raise ValueError(
            f"{name}: expected the shape {shape} for each of {len(given)}, got {sizes}"
        )
    return found


def _run(file: Path) -> ModuleType:
    """Return the module of a file, which is kept under a name that its text makes."""
    text = read_file(file, LARGEST)
    name = "_own_" + hashlib.sha256(str(file).encode() + text).hexdigest()[:16]
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = str(file)
        sys.modules[name] = module  # so that its classes can be pickled
        try:
            exec(compile(text, file, "exec"), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def digest(file: Path) -> str:
    """Return what tells the text of a file from any other: its SHA-256."""
    return hashlib.sha256(read_file(file, LARGEST)).hexdigest()
