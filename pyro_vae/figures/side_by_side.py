"""Figures of named things side by side: points with error bars, a panel for each measure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_vae.figures.many_runs import COLOURS, MARKERS
from pyro_vae.figures.palette import plain

APART = 0.16  # between the points of one name, in units of the distance of names


class Marks(NamedTuple):
    """Points of one kind: their label, a value for each name (NaN where there is none), and errors."""

    label: str
    x: ArrayLike
    x_error: ArrayLike


class Panels(NamedTuple):
    """A row of panels: its title, the names from top to bottom, and marks by each axis label."""

    title: str
    names: Sequence[str]
    panels: Mapping[str, Sequence[Marks]]


def named_points(rows: Sequence[Panels]) -> Figure:
    """Draw points with error bars beside their names, in rows of panels that share the names.

    Marks have the same colour and marker in all panels, by their place in the panel. Those of one
    name stand a little above each other, so that none hides another.

    Args:
        rows: the rows of panels, whose axis labels give the units.

    Raises:
        ValueError: no rows, or rows with different numbers of panels.
    """
    counts = {len(row.panels) for row in rows}
    if len(counts) != 1:
        raise ValueError(f"rows: expected some with the same number of panels, got {counts}")
    heights = [1.0 + 0.24 * len(row.names) for row in rows]
    figure = Figure(figsize=(8.5, 0.6 + sum(heights)), layout="constrained")
    columns = counts.pop()
    grid = figure.subplots(len(rows), columns, sharey="row", squeeze=False, height_ratios=heights)
    for row, axes in zip(rows, grid):
        _draw_row(row, axes)
    _legend(figure, grid[0, 0])
    return figure


def _draw_row(row: Panels, axes: Sequence[Axes]) -> None:
    for panel, (label, marks) in zip(axes, row.panels.items()):
        for number, kind in enumerate(marks):
            _draw_marks(panel, kind, number, len(marks))
        panel.set_xlabel(plain(label))
        panel.grid(alpha=0.3)
    axes[0].set_title(plain(row.title), fontsize=10, loc="left")
    axes[0].set_yticks(range(len(row.names)), [plain(name) for name in row.names])
    axes[0].set_ylim(len(row.names) - 0.5, -0.5)  # the first name is at the top


def _draw_marks(axes: Axes, marks: Marks, number: int, count: int) -> None:
    y = np.arange(len(marks.x)) + APART * (number - (count - 1) / 2)
    axes.errorbar(
        np.asarray(marks.x, dtype=float),
        y,
        xerr=np.nan_to_num(np.asarray(marks.x_error, dtype=float)),
        fmt=MARKERS[number % len(MARKERS)],
        color=COLOURS[number % len(COLOURS)],
        label=plain(marks.label),
        markersize=5,
        capsize=2,
    )


def _legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend under the panels, if any marks have a label."""
    handles, labels = axes.get_legend_handles_labels()
    if any(labels):
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
