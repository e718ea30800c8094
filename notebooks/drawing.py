"""What several notebooks draw: curves and points of means over seeds, from a table of runs."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from pyro_vae.comparison.plots import curve_over
from pyro_vae.comparison.plots import rate_distortion_curve as rate_distortion_curve
from pyro_vae.comparison.seeds import ERROR, Names, over_seeds
from pyro_vae.evaluation.samples import radial_power_spectrum
from pyro_vae.figures import plain
from pyro_vae.figures.images import encode_video, frames
from pyro_vae.figures.images import named_rows as named_rows
from pyro_vae.figures.many_runs import COLOURS, MARKERS, Curve
from pyro_vae.figures.many_runs import elbo_over_epochs as elbo_over_epochs
from pyro_vae.figures.many_runs import over_setting as over_setting
from pyro_vae.figures.many_runs import rate_distortion as rate_distortion
from pyro_vae.names import check_name
from pyro_vae.settings import setting_text

APART = 0.16  # between the points of one name, in units of the distance of names


# --- curves ----------------------------------------------------------------------------------------


def mean_curve(label: str, number: int, x: ArrayLike, rows: ArrayLike) -> Curve:
    """Return the curve of the mean of several rows, with their standard error as bars.

    Args:
        label: the curve's name.
        number: the number of its colour and dashes.
        x: (P,), the places of the points.
        rows: (S, P), such as a curve for each seed. One row alone has no bars.
    """
    rows = np.asarray(rows, dtype=float)
    count = len(rows)
    errors = rows.std(0, ddof=1) / math.sqrt(count) if count > 1 else None
    return Curve(label, number, number, x, rows.mean(0), errors)


def curves_over(
    table: pd.DataFrame, setting: str, column: str, by: str | None = None, best: str = ""
) -> list[Curve]:
    """Return a curve of a measure over a setting for each value of another setting.

    Args:
        table: a row for each run.
        setting: what the curves run over, such as `beta`.
        column: the measure.
        by: the setting whose values get a curve each (default: one curve).
        best: `highest` or `lowest`, to ring the best point of each curve (default: no ring).

    Raises:
        ValueError: a column that the table does not have.
    """
    groups = [("", table)]
    if by is not None:
        check_name("by: column", by, table.columns)
        groups = list(table.groupby(by, sort=False))
    curves = []
    for number, (value, runs) in enumerate(groups):
        curve = curve_over(runs, setting, column, best)
        if curve.x:
            curves.append(curve._replace(label=setting_text(value), colour=number, dash=number))
    return curves


def curves_of(table: pd.DataFrame, setting: str, columns: Sequence[str]) -> list[Curve]:
    """Return a curve over a setting for each of several measures, which name the curves.

    Args:
        table: a row for each run.
        setting: what the curves run over, such as `beta`.
        columns: the measures.

    Raises:
        ValueError: a column that the table does not have.
    """
    curves = []
    for number, column in enumerate(columns):
        curve = curve_over(table, setting, column)
        if curve.x:
            curves.append(curve._replace(label=column, colour=number, dash=number))
    return curves


def relative_spectrum(images: Tensor, reference: Tensor, label: str, number: int) -> Curve:
    """Return the curve of power over frequency of images, divided by that of a reference.

    Args:
        images, reference: (N, C, H, W) and (M, C, H, W).
        label: the curve's name.
        number: the number of the curve's colour and dashes.
    """
    found = radial_power_spectrum(images)
    power = radial_power_spectrum(reference).power
    y, errors = (found.power / power).tolist(), (found.standard_error / power).tolist()
    return Curve(label, number, number, found.frequencies.tolist(), y, errors)


def video_of(images: Tensor, columns: int) -> bytes:
    """Return an MP4 file of images (T, N, C, H, W), of which each step is a grid of N images."""
    return encode_video(frames(images.numpy(), columns, 360), ".mp4")


# --- points beside their names ---------------------------------------------------------------------


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


def marks_of(table: pd.DataFrame, column: str, names: Names, order: list, label: str = "") -> Marks:
    """Return the points of a measure, one for each name in order, for `named_points`.

    The error of a single seed is that over images.

    Args:
        table: a row for each run.
        column: the measure.
        names: the setting whose values the points are named by, or several.
        order: those values in the order of the points; one without a run gets no point.
        label: what the points are called in the legend.

    Raises:
        ValueError: a column that the table does not have.
    """
    means = over_seeds(table, names, column, over_images=True).reindex(order)
    return Marks(label, means[column].tolist(), means[column + ERROR].tolist())


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
