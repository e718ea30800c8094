"""`evaluation.json`, whose figures are of the kinds that the parts declare."""

from pathlib import Path
from typing import Any

from pyro_vae.measures import PARTS
from pyro_vae.pages.wording import Row, lookup
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
    if value is None:
        return True
    if row.kind == "words":
        return isinstance(value, str)
    if isinstance(value, dict):
        return all(isinstance(value.get(k), NUMBER) for k in ("mean", "standard_error"))
    return isinstance(value, (int, float))
