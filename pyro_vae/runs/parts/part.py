"""What a part of an evaluation is."""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from pyro_vae.pages.wording import Picture, Row, Shown, shown_rows


@dataclass(frozen=True)
class Part:
    """A part of an evaluation.

    `measured_by` names a function that takes a `pyro_vae.runs.subject.Subject`, writes the
    pictures and files of the part, and returns its numbers by key. It returns an empty dict where
    the part does not apply.
    """

    title: str
    look: str
    rows: tuple[Row, ...]
    pictures: tuple[Picture, ...]
    measured_by: str
    needs: int  # test images
    summary: str  # in a phrase, for tables of parts
    terms: tuple[tuple[str, str], ...] = ()  # words of the part, each with what it means

    def shown(self, figures: dict[str, Any]) -> list[Shown]:
        """Return the rows that have a value, as they are shown."""
        return shown_rows((LEFT_OUT, *self.rows), figures)

    @property
    def measure(self) -> Callable[[Any], dict[str, Any]]:
        """Return the function that measures the part."""
        return resolve_name(self.measured_by)


def data_rows(*keys: str) -> tuple[Row, ...]:
    """Return rows that are kept in the file and not shown."""
    return tuple(Row(key, kind="data") for key in keys)


LEFT_OUT = Row("left_out", "left out", kind="words")
EFFORT_KEYS = (
    "seed",
    "quick",
    "checkpoint",
    "left_out",
)  # keys that every part has besides its own
