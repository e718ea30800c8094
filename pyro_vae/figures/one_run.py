"""Figures of one run and its codes: functions that draw arrays into a matplotlib `Figure`.

None of them calls a model, shows a figure or saves one.
"""

import math
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_vae.evaluation.estimates import ACTIVE_VARIANCE, COLLAPSED_RATE
from pyro_vae.figures import BLUE, GREY, INK, LABELS, ORANGE, blank

TERMS = ("elbo", "rate", "distortion")


def _learning_curve(axes: Axes, metrics: dict[str, ArrayLike], term: str) -> None:
    for split, colour, style in (("train", BLUE, "-"), ("test", ORANGE, "--")):
        values = np.array(metrics[f"{split}_{term}"], dtype=float)
        if np.isfinite(values).any():
            marker = "o" if len(values) == 1 else None
            axes.plot(metrics["epoch"], values, style, color=colour, label=split, marker=marker)
    title = "ELBO" if term == "elbo" else term
    axes.set(title=title, xlabel="epoch", ylabel="nats per image")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "not defined for a point posterior", ha="center", va="center",
                  transform=axes.transAxes, color=GREY)  # fmt: skip


def learning_curve(metrics: dict[str, ArrayLike], term: str) -> Figure:
    """Draw `elbo`, `rate` or `distortion` over epochs, from the columns of metrics.csv."""
    figure, axes = blank(4, 3)
    _learning_curve(axes, metrics, term)
    return figure


def learning_curves(metrics: dict[str, ArrayLike]) -> Figure:
    """Draw ELBO, rate and distortion over epochs, training and test, from columns of metrics.csv."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, term in zip(figure.subplots(1, 3), TERMS):
        _learning_curve(axes, metrics, term)
    return figure


def ladder(gaps: dict[str, tuple[float, float]], estimate: str) -> Figure:
    """Draw by how much each bound lies under the estimate of log P(x), with its paired error.

    Args:
        gaps: by name of the bound, the mean over images of estimate minus bound and the standard
            error of that mean, nats; the loosest bound first.
        estimate: log P(x) with its error, as text.
    """
    figure, axes = blank(6, 0.4 * len(gaps) + 1.3, "nats per image under log P(x)")
    means, errors = zip(*gaps.values())
    places = range(len(gaps))
    axes.barh(places, means, 0.6, xerr=np.nan_to_num(errors), color=BLUE, capsize=3)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(places, list(gaps))
    axes.set_ylim(len(gaps) - 0.4, -0.6)
    axes.set_title(f"Bounds beside log P(x) = {estimate}", fontsize=10)
    return figure


def posterior_moments(shift: ArrayLike, scale_ratio: ArrayLike) -> Figure:
    """Draw the moments of q against NUTS, with a point for each image and component.

    Args:
        shift: of the mean, in standard deviations of p(z|x), (N, latent_dim).
        scale_ratio: the scale of q over that of p(z|x), (N, latent_dim).
    """
    x_label = "shift of the mean (standard deviations of p(z|x))"
    figure, axes = blank(4.8, 3.8, x_label, "scale of q over that of p(z|x)")
    axes.axhline(1, color=GREY, linewidth=1)
    axes.axvline(0, color=GREY, linewidth=1)
    for n, (x, y) in enumerate(zip(np.asarray(shift), np.asarray(scale_ratio))):
        axes.plot(x, y, "o^sDvP*X"[n % 8], label=f"image {n + 1}", alpha=0.8)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    axes.set_title("The encoder's q beside the posterior by NUTS", fontsize=10)
    return figure


def rank_histograms(ranks: ArrayLike, num_draws: int, names: list[str], at_most: int = 9) -> Figure:
    """Draw ranks (N, K) in 0 ... num_draws as histograms, with the 99% band of uniform ranks."""
    ranks = np.asarray(ranks)
    shown = [*range(min(len(names) - 1, at_most - 1)), len(names) - 1]
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(2.6 * columns, 1.8 * rows + 0.6), layout="constrained")
    expected = len(ranks) / 20
    half = 2.576 * math.sqrt(expected * 0.95)
    for axes, k in zip(figure.subplots(rows, columns, squeeze=False).flat, shown):
        axes.axhspan(expected - half, expected + half, color=GREY, alpha=0.3, linewidth=0)
        axes.hist(ranks[:, k], np.linspace(-0.5, num_draws + 0.5, 21), color=BLUE)
        axes.set_title(names[k], fontsize=10)
    for axes in figure.axes[len(shown) :]:
        axes.set_axis_off()
    figure.supxlabel(f"rank of the true value among {num_draws} draws", fontsize=10)
    figure.supylabel("simulations", fontsize=10)
    return figure


def pixel_calibration(shares: ArrayLike) -> Figure:
    """Draw the share of pixels in bins of their probability integral transform.

    Args:
        shares: (N, bins), of each image's pixels; bars are twice the standard error over images.
    """
    shares = np.asarray(shares)
    bins = shares.shape[1]
    middles = (np.arange(bins) + 0.5) / bins
    errors = 2 * shares.std(0, ddof=1) / math.sqrt(len(shares))
    x_label = "where a pixel lies in its distribution"
    figure, axes = blank(5, 2.8, x_label, "density (calibrated: 1)")
    axes.bar(middles, bins * shares.mean(0), 0.9 / bins, color=BLUE, yerr=bins * errors)
    axes.axhline(1, color=ORANGE, linestyle="--")
    axes.set_xlim(0, 1)
    return figure


def power_spectra(curves: dict[str, tuple[ArrayLike, ArrayLike]]) -> Figure:
    """Draw power, on a logarithmic scale, over spatial frequency for sets of images by name."""
    x_label = "spatial frequency (cycles per image)"
    figure, axes = blank(5, 3.6, x_label, "power (squared pixel values)")
    for (name, (frequency, power)), colour, style in zip(
        curves.items(), (GREY, BLUE, ORANGE), ("-", "--", "-.")
    ):
        axes.plot(frequency, power, style, color=colour, label=name, linewidth=2)
    axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


# --- codes ----------------------------------------------------------------------------------------


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
