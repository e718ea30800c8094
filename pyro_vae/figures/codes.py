"""Figures of codes: a map of them, what each component carries, how they lie beside the prior."""

import math
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_vae.evaluation.estimates import ACTIVE_VARIANCE, COLLAPSED_RATE
from pyro_vae.figures import BLUE, GREY, INK, LABELS, ORANGE, blank

STATES = ("active", "idle", "collapsed")  # of a component
COLOURS, MARKERS = (BLUE, GREY, ORANGE), "oDs"  # of the states


def _rate_bars(axes: Axes, rates: np.ndarray, states: np.ndarray) -> None:
    order = np.argsort(-rates)
    colours = [COLOURS[state] for state in states[order]]
    axes.bar(np.arange(1, len(rates) + 1), rates[order], color=colours)
    axes.axhline(COLLAPSED_RATE, color=GREY, linestyle=":", linewidth=1)
    axes.set(xlabel="latent component, by rate", ylabel="rate (nats per image)")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _thresholds(axes: Axes, rates: np.ndarray, variances: np.ndarray, states: np.ndarray) -> None:
    least = 1e-5  # what is smaller is drawn here
    for state, name in enumerate(STATES):
        there = states == state
        x, y = np.maximum(variances[there], least), np.maximum(rates[there], least)
        label = f"{there.sum()} {name}"
        axes.plot(x, y, MARKERS[state], color=COLOURS[state], label=label, markersize=6)
    axes.axvline(ACTIVE_VARIANCE, color=GREY, linestyle=":", linewidth=1)
    axes.axhline(COLLAPSED_RATE, color=GREY, linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", ylabel="rate (nats per image)")
    axes.set_xlabel("variance of the component's mean over images")


def component_panels(rates: ArrayLike, variances: ArrayLike) -> tuple[Figure, Figure]:
    """Draw the rate of each component as bars, and over the variance of its mean.

    A component is active where its mean varies, collapsed where it has no rate, and idle in
    between. Both thresholds are drawn as dotted lines.

    Args:
        rates: mean KL of each component, nats (latent_dim,).
        variances: of its mean over images, (latent_dim,).
    """
    (bars, left), (plane, right) = blank(4, 3), blank(4, 3)
    _draw_components(left, right, rates, variances)
    plane.legend(loc="outside lower center", ncols=3, frameon=False)
    return bars, plane


def components(rates: ArrayLike, variances: ArrayLike) -> Figure:
    """Draw both of `component_panels` in one figure, with the same arguments."""
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    _draw_components(*figure.subplots(1, 2), rates, variances)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_components(bars: Axes, plane: Axes, rates: ArrayLike, variances: ArrayLike) -> None:
    rates, variances = np.asarray(rates, dtype=float), np.asarray(variances, dtype=float)
    unused = np.where(rates < COLLAPSED_RATE, 2, 1)  # as places in `STATES`
    states = np.where(variances > ACTIVE_VARIANCE, 0, unused)
    _rate_bars(bars, rates, states)
    _thresholds(plane, rates, variances, states)


def latent_map(points: ArrayLike, labels: ArrayLike | None, names: tuple[str, str]) -> Figure:
    """Draw codes (N, 2) as points, coloured by label; the name of a label stands at its median.

    Args:
        labels: (N,), or None where there are none. More than ten are drawn as one shade each, from
            dark to bright.
        names: of the two axes.
    """
    points = np.asarray(points)
    figure, axes = blank(5, 4.6, *names)
    axes.set_aspect("equal", adjustable="datalim")
    kinds = np.unique([] if labels is None else labels)
    if 0 < len(kinds) <= len(LABELS):
        _by_label(axes, points, np.asarray(labels), kinds)
    else:
        axes.scatter(*points.T, s=14, c=labels, color=BLUE if labels is None else None, alpha=0.7)
    return figure


def _by_label(axes: Axes, points: np.ndarray, labels: np.ndarray, kinds: np.ndarray) -> None:
    for colour, kind in zip(LABELS, kinds):
        of_kind = points[labels == kind]
        axes.scatter(*of_kind.T, s=14, color=colour, alpha=0.7, linewidths=0)
    for colour, kind in zip(LABELS, kinds):
        place = np.median(points[labels == kind], axis=0)
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour}
        axes.text(*place, str(kind), ha="center", va="center", bbox=box, color=INK, size=15)


def marginals(loc: ArrayLike, scale: ArrayLike, at_most: int = 12) -> Figure:
    """Draw densities of the aggregate posterior's components beside the prior's.

    Args:
        loc, scale: means and scales of q(z|x), (N, latent_dim) each.
        at_most: the number of components to draw; those whose means vary most come first.
    """
    loc, scale = np.asarray(loc)[:2000], np.asarray(scale)[:2000]
    widest = np.argsort(-loc.var(0))[:at_most]
    t = np.linspace(-4, 4, 161)
    figure, axes = blank(6, 3.8, "z", "density")
    for k in widest:
        density = np.exp(-0.5 * ((t[:, None] - loc[:, k]) / scale[:, k]) ** 2) / scale[:, k]
        axes.plot(t, density.mean(1) / math.sqrt(2 * math.pi), color=BLUE, alpha=0.6, linewidth=1)
    prior = np.exp(-0.5 * t**2) / math.sqrt(2 * math.pi)
    axes.plot(t, prior, color=ORANGE, linestyle="--", linewidth=2)
    return _beside_the_prior(figure, axes, "aggregate posterior")


def quantiles(z: ArrayLike, at_most: int = 12) -> Figure:
    """Draw quantiles of the columns of z (N, latent_dim) over those of a standard Normal."""
    z = np.asarray(z)
    shares = (np.arange(1, 100)) / 100
    normal = np.array([NormalDist().inv_cdf(s) for s in shares])
    figure, axes = blank(4.8, 4, "quantile of the prior", "quantile of z")
    for column in z.T[:at_most]:
        axes.plot(normal, np.quantile(column, shares), color=BLUE, alpha=0.6, linewidth=1)
    axes.plot(normal, normal, color=ORANGE, linestyle="--", linewidth=2)
    axes.grid(alpha=0.3)
    return _beside_the_prior(figure, axes, "after the last step")


def _beside_the_prior(figure: Figure, axes: Axes, name: str) -> Figure:
    """Add the legend of lines that are drawn beside the dashed one of the prior."""
    axes.plot([], [], color=BLUE, label=f"{name}, a line per component")
    axes.plot([], [], color=ORANGE, linestyle="--", linewidth=2, label="prior")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
