"""Grids: settings with several values each, and the configurations that they span, by name."""

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from pyro_vae.names import check_name, is_path
from pyro_vae.own_parts import is_import_path, short_name
from pyro_vae.runs.config import RunConfig
from pyro_vae.settings import check_setting

Grid = dict[str, list]  # the values of each setting that is given, in the order it was given
MAY_DIFFER = ("beta", "seed", "learning_rate", "sigma")  # among runs that are trained together
LONGEST_NAME = 200  # bytes; file systems take 255


def read_grid(settings: Mapping[str, object]) -> Grid:
    """Return the values of each setting, checked and without duplicates.

    Args:
        settings: one value or several values for each field of `RunConfig`. Hidden sizes (400, 200)
            are one value. Several values are a list of tuples, or of strings like "400,200".

    Raises:
        ValueError: an unknown setting; a value that does not fit it, or no value.

    Example:
        >>> read_grid({"beta": [0.5, "4"], "hidden": [400, 200]})
        {'beta': [0.5, 4.0], 'hidden': [(400, 200)]}
    """
    known = {f.name: f for f in fields(RunConfig)}
    for name in settings:
        check_name("sweep: setting", name, known)
    return {name: _values(known[name], given) for name, given in settings.items()}


def _values(f: Field, given: Any) -> list:
    several = list(given) if _is_several(f.name, given) else [given]
    if not several:
        raise ValueError(f"{f.name}: expected one value at least, got none")
    values = [check_setting(f, value) for value in several]
    if f.name == "dataset":
        values = [str(Path(v).resolve()) if is_path(v) else v for v in values]
    return list(dict.fromkeys(values))


def _is_several(name: str, given: object) -> bool:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        return False
    return name != "hidden" or any(v is None or isinstance(v, (str, list, tuple)) for v in given)


def combinations(grid: Grid) -> dict[str, RunConfig]:
    """Return the configurations of a grid, by names that show the settings that vary.

    Raises:
        ValueError: settings that contradict each other; the message names the combination.

    Example:
        >>> list(combinations({"beta": [0.25, 4.0], "seed": [0, 1], "epochs": [9]}))
        ['beta=0.25,seed=0', 'beta=0.25,seed=1', 'beta=4,seed=0', 'beta=4,seed=1']
    """
    labels = {name: _labels(values) for name, values in grid.items() if len(values) > 1}
    named = ([f"{name}={label}" for label in each] for name, each in labels.items())
    names = [",".join(parts) for parts in itertools.product(*named)]
    rows = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    configs = [_config(name, row) for name, row in zip(names, rows)]
    if not labels:
        names = [f"{_label(configs[0].dataset)}-{configs[0].kind}"]
    return {_shortened(name): config for name, config in zip(names, configs)}


def _config(name: str, settings: dict) -> RunConfig:
    try:
        return RunConfig(**settings)
    except ValueError as error:
        where = f"combination {name}: " if name else ""
        raise ValueError(f"{where}{error}") from error


def _labels(values: list) -> list[str]:
    """Return a label of each value for file names, no two of them alike."""
    labels: list[str] = []
    for value in values:
        label, taken = _label(value), {each.casefold() for each in labels}
        numbered = (f"{label}-{n}" for n in itertools.count(2))
        free = (x for x in itertools.chain([label], numbered) if x.casefold() not in taken)
        labels.append(next(free))
    return labels


def _label(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "none"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    text = short_name(str(value)) if is_import_path(value) else str(value)
    return re.sub(r"[^\w.+-]+", "_", Path(text).stem if os.sep in text else text) or "_"


def _shortened(name: str) -> str:
    content = name.encode()
    if len(content) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(content).hexdigest()[:8]
    return f"{content[: LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"


def grid_text(grid: Grid) -> str:
    """Return a grid as YAML, which `load_settings` and `read_grid` read."""
    plain = {n: [list(v) if isinstance(v, tuple) else v for v in vs] for n, vs in grid.items()}
    content = {name: values if len(values) > 1 else values[0] for name, values in plain.items()}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def common_settings(config: RunConfig) -> RunConfig:
    """Return the settings that runs trained together share.

    Settings that may differ among them have their defaults.
    """
    return replace(config, **{name: getattr(RunConfig, name) for name in MAY_DIFFER})
