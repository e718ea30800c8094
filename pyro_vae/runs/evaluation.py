"""`evaluation.json`: its figures are those that the parts declare, when written and when read."""

from pathlib import Path
from typing import Any

from pyro_vae.pages.wording import Row, lookup
from pyro_vae.runs.parts import EFFORT_KEYS, PARTS
from pyro_vae.runs.results import NUMBER, load_table


def load_evaluation(path: Path) -> dict:
    """Return the content of an `evaluation.json`; an empty dict where there is no file yet.

    Raises:
        ValueError: the file is no evaluation of a run.
    """
    evaluation = load_table(path, "no evaluation of a run") or {}
    for name, part in PARTS.items():
        figures = evaluation.get(name)
        if figures is not None and not isinstance(figures, dict):
            raise ValueError(f"evaluation: {path} is no evaluation of a run: {name} is no table")
        for row in part.rows:
            if not _fits(row, lookup(figures or {}, row.key)):
                raise ValueError(
                    f"evaluation: {path} is no evaluation of a run: {name}.{row.key} is of another"
                    " type"
                )
    return evaluation


def _fits(row: Row, value: Any) -> bool:
    """Return whether a figure is of the kind that its row declares."""
    if row.kind == "data" or value is None:
        return True
    if row.kind == "words":
        return isinstance(value, str)
    if isinstance(value, dict):
        return all(isinstance(value.get(k), NUMBER) for k in ("mean", "standard_error"))
    return isinstance(value, (int, float))


def check_figures(name: str, figures: dict[str, Any]) -> None:
    """Check that every figure of a part is declared in its rows.

    Raises:
        RuntimeError: a figure that is not declared.
    """
    declared = {*(row.key for row in PARTS[name].rows), *EFFORT_KEYS}
    for key in _dotted(figures, declared):
        if key not in declared:
            raise RuntimeError(f"{name}: {key} is declared in no row of the part")


def _dotted(figures: dict[str, Any], declared: set[str], prefix: str = "") -> list[str]:
    """Return the dotted keys of figures, down to those that are declared or hold an estimate."""
    keys = []
    for key, value in figures.items():
        whole = prefix + key
        inner = isinstance(value, dict) and "mean" not in value and whole not in declared
        keys += _dotted(value, declared, f"{whole}.") if inner else [whole]
    return keys
