"""Figures of many runs: functions that draw curves into a matplotlib `Figure`."""

import math
from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike

from pyro_vae.figures import BLUE, GREY, ORANGE, blank, plain

BLACK = "#000000"  # pages replace it by their text colour
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", BLACK, GREY)
MARKERS = "os^Dv*PX<>hpd"
DASHES = ("-", "--", "-.", ":")


class Curve(NamedTuple):
    """A line of a plot: its name, numbers of colour and dashes, points, half-lengths of error bars.

    Colour and dashes together choose the marker. Two lines that share one of them have different
    markers.
    """

    label: str
    colour: int
    dash: int
    x: ArrayLike
    y: ArrayLike
    y_error: ArrayLike | None = None
    x_error: ArrayLike | None = None
    best: int | None = None  # the point that gets a ring
    ends: tuple[str, str] | None = None  # texts at the first and the last point


def _draw(axes: Axes, curve: Curve, markers: int | None = None) -> None:
    """Draw the line with its bars and ring, and a marker at every point or `markers` in all."""
    colour = COLOURS[curve.colour % len(COLOURS)]
    hollow = curve.dash // len(DASHES) % 2 == 1
    axes.plot(
        curve.x,
        curve.y,
        DASHES[curve.dash % len(DASHES)],
        marker=MARKERS[(curve.colour + curve.dash) % len(MARKERS)],
        markevery=markers and max(1, len(curve.x) // markers),
        fillstyle="none" if hollow else "full",
        color=colour,
        label=_in_lines(curve.label),
        markersize=5,
        linewidth=1.5,
    )
    errors = [None if e is None else np.nan_to_num(e) for e in (curve.y_error, curve.x_error)]
    if any(e is not None for e in errors):
        axes.errorbar(curve.x, curve.y, *errors, fmt="none", ecolor=colour, capsize=3)
    if curve.best is not None:
        place = np.asarray(curve.x)[curve.best], np.asarray(curve.y)[curve.best]
        axes.plot(*place, "o", color=BLACK, fillstyle="none", markersize=12, label="_best")


def _in_lines(label: str) -> str:
    """Return a name in lines that the width of a figure holds."""
    return fill(plain(label), 48)


def _legend_columns(curves: Sequence[Curve]) -> int:
    return max(1, min(3, 44 // (max(len(curve.label) for curve in curves) + 6)))


def _figure(curves: Sequence[Curve], title: str, x: str, y: str) -> tuple[Figure, Axes]:
    named = any(curve.label for curve in curves)
    lines = sum(1 + _in_lines(curve.label).count("\n") for curve in curves)
    rows = math.ceil(lines / _legend_columns(curves)) if named else 0
    figure, axes = blank(4.0, 2.9 + 0.19 * rows, x, y)
    axes.set_title(plain(title), fontsize=10)
    axes.grid(alpha=0.3)
    return figure, axes


def _legend(figure: Figure, axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw the legend under the axes, where it covers nothing, if any line has a name."""
    if any(curve.label for curve in curves):
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=_legend_columns(curves),
            frameon=False,
            fontsize=8,
            handlelength=3.2,
        )


def _log_places(values: Iterable[float]) -> dict[float, float]:
    """Return the places of values on a logarithmic axis; 0 is one and a half steps to the left."""
    distinct = sorted(set(values))
    positive = [v for v in distinct if v > 0] or [1.0]
    ratios = np.diff(np.log(positive))
    step = float(np.exp(np.median(ratios))) if len(ratios) else 2.0
    return {v: v if v > 0 else positive[0] / step**1.5 for v in distinct}


def _log_axis(axes: Axes, places: dict[float, float]) -> None:
    """Draw ticks at the values themselves, and a dotted line between 0 and the others."""
    axes.set_xscale("log")
    first, *others = places.values()
    if 0 in places and others:
        axes.axvline(math.sqrt(first * others[0]), color=GREY, linestyle=":", linewidth=1)
    span = math.log(max(places.values()) / first) or 1.0
    shown: list[float] = []
    for value, place in places.items():
        if not shown or math.log(place / places[shown[-1]]) >= span / 9:
            shown.append(value)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([places[v] for v in shown], [f"{v:.4g}" for v in shown])


def over_setting(
    curves: Sequence[Curve],
    title: str,
    x_label: str,
    y_label: str,
    level: float | None = None,
    level_label: str = "",
    diagonal_label: str = "",
) -> Figure:
    """Draw a measure over a setting on a logarithmic axis, with bars for standard errors.

    Args:
        level: the height of a dotted line, which `level_label` names (default: no line). NaN draws
            none either, for a figure that was not measured.
        diagonal_label: the name of a dotted line on which the measure equals the setting (default:
            no line).
    """
    if level is None or math.isnan(level):
        level, level_label = None, ""
    dotted = [label for label in (level_label, diagonal_label) if label]
    named = [*curves, *(Curve(label, 0, 0, [], []) for label in dotted)]
    figure, axes = _figure(named, title, x_label, fill(y_label, 34))
    places = _log_places(x for curve in curves for x in curve.x)
    for curve in curves:
        _draw(axes, curve._replace(x=[places[x] for x in curve.x]))
    if level is not None:
        axes.axhline(level, color=BLACK, linestyle=":", linewidth=1, label=level_label)
    if diagonal_label:
        axes.plot(*[list(places.values())] * 2, ":", color=BLACK, linewidth=1, label=diagonal_label)
    _log_axis(axes, places)
    if all(float(y).is_integer() for curve in curves for y in curve.y):
        axes.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    _legend(figure, axes, named)
    return figure


def rate_distortion(curves: Sequence[Curve], title: str) -> Figure:
    """Draw distortion over rate, in nats per image, with bars for the standard errors of both."""
    figure, axes = _figure(curves, title, "rate (nats per image)", "distortion (nats per image)")
    beside = {"xytext": (5, 5), "textcoords": "offset points", "fontsize": 7}
    for curve in curves:
        _draw(axes, curve)
        points = list(zip(curve.x, curve.y))
        for n, text in zip((0, -1), curve.ends or ()):
            axes.annotate(text, points[n], **beside)
    axes.margins(0.1)
    _legend(figure, axes, curves)
    return figure


def elbo_over_epochs(curves: Sequence[Curve], title: str) -> Figure:
    """Draw the test ELBO of runs over epochs, in nats per image.

    The frame leaves out low values that only the first tenth of the epochs reaches.
    """
    figure, axes = _figure(curves, title, "epoch", "test ELBO (nats per image)")
    lows, highs = [], []
    for curve in curves:
        _draw(axes, curve, markers=6)
        y = np.asarray(curve.y, dtype=float)
        lows.append(np.nanmin(y[len(y) // 10 :]))
        highs.append(np.nanmax(y))
    room = 0.05 * (max(highs) - min(lows)) or 1.0
    axes.set_ylim(min(lows) - room, max(highs) + room)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, axes, curves)
    return figure
