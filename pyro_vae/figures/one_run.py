"""Figures of one run: functions that draw arrays into a matplotlib `Figure`.

None of them calls a model, shows a figure or saves one.
"""

import math
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_vae.evaluation.thresholds import COLLAPSED_RATE

TERMS = ("elbo", "rate", "distortion")
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#888888"  # for the colour-blind too (Okabe, Ito)


def plain(text: str) -> str:
    """Return text that matplotlib draws as it is: no formula between dollars, no control characters."""
    readable = "".join(c if c.isprintable() else " " for c in text)
    return readable.replace("$", r"\$")


def tile(images: ArrayLike, columns: int, gap: int = 1) -> np.ndarray:
    """Return images (N, C, H, W) in [0, 1] as one picture (height, width, 3), by row, on white."""
    images = np.asarray(images)
    images = np.broadcast_to(images, (len(images), 3, *images.shape[2:]))
    n, _, height, width = images.shape
    rows = math.ceil(n / columns)
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for k, image in enumerate(images):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return canvas


def _picture(axes: Axes, images: ArrayLike, columns: int, title: str) -> None:
    axes.imshow(tile(images, columns), interpolation="nearest", vmin=0, vmax=1)
    axes.set_title(plain(title), fontsize=10)
    axes.set_axis_off()


def image_grid(images: ArrayLike, columns: int, title: str) -> Figure:
    """Draw images (N, C, H, W) in rows of `columns`."""
    picture = tile(images, columns)
    height = 4.8 * picture.shape[0] / picture.shape[1] + 0.25
    figure = Figure(figsize=(4.8, height), layout="constrained")
    _picture(figure.subplots(), images, columns, title)
    return figure


def named_rows(rows: dict[str, ArrayLike], title: str) -> Figure:
    """Draw rows of equally many images (N, C, H, W), each with its name to the left."""
    images = [np.asarray(row) for row in rows.values()]
    picture = tile(np.concatenate(images), len(images[0]))
    height = 5.2 * picture.shape[0] / picture.shape[1] + 0.35
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
    pitch = (picture.shape[0] + 1) / len(rows)
    names = [plain(name) for name in rows]
    axes.set_yticks([pitch * (n + 0.5) - 1 for n in range(len(rows))], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    axes.set_title(plain(title), fontsize=10)
    return figure


def _in_pairs(originals: ArrayLike, reconstructions: ArrayLike, columns: int) -> np.ndarray:
    """Return rows of `columns` originals, each above the row of its reconstructions."""
    originals, reconstructions = np.asarray(originals), np.asarray(reconstructions)
    starts = range(0, len(originals), columns)
    both = (a[s : s + columns] for s in starts for a in (originals, reconstructions))
    return np.concatenate(list(both))


def reconstruction_grid(originals: ArrayLike, reconstructions: ArrayLike) -> Figure:
    """Draw rows of eight originals (N, C, H, W), each above the row of its reconstructions."""
    pairs = _in_pairs(originals, reconstructions, 8)
    return image_grid(pairs, 8, "Originals (odd rows) over their reconstructions (even rows)")


def progress(
    originals: ArrayLike, reconstructions: ArrayLike, samples: ArrayLike, epoch: int
) -> Figure:
    """Draw the state after an epoch, with reconstructions on the left and samples on the right."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _picture(left, _in_pairs(originals, reconstructions, 8), 8, "Originals over reconstructions")
    _picture(right, samples, 8, "Samples")
    figure.suptitle(f"After epoch {epoch}")
    return figure


def _learning_curve(axes: Axes, metrics: dict[str, ArrayLike], term: str) -> None:
    for split, colour, style in (("train", BLUE, "-"), ("test", ORANGE, "--")):
        values = np.array(metrics[f"{split}_{term}"], dtype=float)
        if np.isfinite(values).any():
            marker = "o" if len(values) == 1 else None
            axes.plot(metrics["epoch"], values, style, color=colour, label=split, marker=marker)
    axes.set_title("ELBO" if term == "elbo" else term)
    axes.set_xlabel("epoch")
    axes.set_ylabel("nats per image")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "not defined for a point posterior", ha="center", va="center",
                  transform=axes.transAxes, color=GREY)  # fmt: skip


def learning_curve(metrics: dict[str, ArrayLike], term: str) -> Figure:
    """Draw `elbo`, `rate` or `distortion` over epochs, from the columns of metrics.csv."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    _learning_curve(figure.subplots(), metrics, term)
    return figure


def learning_curves(metrics: dict[str, ArrayLike]) -> Figure:
    """Draw ELBO, rate and distortion over epochs, training and test, from columns of metrics.csv."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, term in zip(figure.subplots(1, 3), TERMS):
        _learning_curve(axes, metrics, term)
    return figure


def _kl_bars(axes: Axes, mean: np.ndarray) -> None:
    mean = np.sort(mean)[::-1]
    axes.bar(np.arange(1, len(mean) + 1), mean, color=np.where(_collapsed(mean), ORANGE, BLUE))
    axes.set_xlabel("latent component, by size")
    axes.set_ylabel("KL (nats per image)")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _kl_counts(axes: Axes, mean: np.ndarray) -> None:
    collapsed = _collapsed(mean)
    edges = np.linspace(0, max(mean.max() * 1.001, COLLAPSED_RATE), 21)
    axes.hist([mean[~collapsed], mean[collapsed]], edges, stacked=True, color=[BLUE, ORANGE],
              label=["in use", f"collapsed (< {COLLAPSED_RATE} nats)"])  # fmt: skip
    axes.set_xlabel("KL (nats per image)")
    axes.set_ylabel("number of components")
    axes.yaxis.get_major_locator().set_params(integer=True)


def _collapsed(mean: np.ndarray) -> np.ndarray:
    return mean < COLLAPSED_RATE


def kl_panels(rates: ArrayLike) -> tuple[Figure, Figure]:
    """Draw the KL of each latent component as bars and in a histogram; rates (latent_dim,) in nats."""
    panels: list[Figure] = []
    for draw in (_kl_bars, _kl_counts):
        figure = Figure(figsize=(4, 3), layout="constrained")
        draw(figure.subplots(), np.asarray(rates, dtype=float))
        panels.append(figure)
    panels[1].legend(loc="outside lower center", ncols=2, frameon=False)
    bars, counts = panels
    return bars, counts


def kl_histogram(rates: ArrayLike) -> Figure:
    """Draw both of `kl_panels` in one figure, from rates (N, latent_dim) in nats."""
    mean = np.asarray(rates, dtype=float).mean(0)
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    for axes, draw in zip(figure.subplots(1, 2), (_kl_bars, _kl_counts)):
        draw(axes, mean)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(
        f"{_collapsed(mean).sum()} of {len(mean)} components collapsed;"
        f" total KL {mean.sum():.2f} nats over {len(np.asarray(rates))} images"
    )
    return figure


def ladder(rungs: dict[str, tuple[float, float]]) -> Figure:
    """Draw estimates of log p(x) by name, each a mean over images and its standard error, in nats."""
    figure = Figure(figsize=(6, 0.5 * len(rungs) + 1.2), layout="constrained")
    axes = figure.subplots()
    means, errors = zip(*rungs.values())
    places = range(len(rungs))
    axes.errorbar(means, places, xerr=np.nan_to_num(errors), fmt="o", color=BLUE, capsize=3)
    axes.set_yticks(places, [name.replace("_", " ") for name in rungs])
    axes.set_ylim(-0.5, len(rungs) - 0.5)
    axes.set_xlabel("nats per image (bars: standard error over images)")
    axes.grid(alpha=0.3, axis="x")
    axes.set_title("Bounds on log P(x), the loosest at the bottom", fontsize=10)
    return figure


def posterior_moments(shift: ArrayLike, scale_ratio: ArrayLike) -> Figure:
    """Draw the moments of q against NUTS, with a point for each image and component.

    Args:
        shift: of the mean, in standard deviations of p(z|x), (N, latent_dim).
        scale_ratio: the scale of q over that of p(z|x), (N, latent_dim).
    """
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1, color=GREY, linewidth=1)
    axes.axvline(0, color=GREY, linewidth=1)
    for n, (x, y) in enumerate(zip(np.asarray(shift), np.asarray(scale_ratio))):
        axes.plot(x, y, "o^sDvP*X"[n % 8], label=f"image {n + 1}", alpha=0.8)
    axes.set_xlabel("shift of the mean (standard deviations of p(z|x))")
    axes.set_ylabel("scale of q over that of p(z|x)")
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
    figure = Figure(figsize=(5, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.bar(middles, bins * shares.mean(0), 0.9 / bins, color=BLUE, yerr=bins * errors)
    axes.axhline(1, color=ORANGE, linestyle="--")
    axes.set(xlim=(0, 1), xlabel="where a pixel lies in its distribution")
    axes.set_ylabel("density (calibrated: 1)")
    return figure


def marginals(loc: ArrayLike, scale: ArrayLike, at_most: int = 12) -> Figure:
    """Draw densities of the aggregate posterior's components beside the prior's.

    Args:
        loc, scale: means and scales of q(z|x), (N, latent_dim) each.
        at_most: the number of components to draw; those whose means vary most come first.
    """
    loc, scale = np.asarray(loc)[:2000], np.asarray(scale)[:2000]
    widest = np.argsort(-loc.var(0))[:at_most]
    t = np.linspace(-4, 4, 161)
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for k in widest:
        density = np.exp(-0.5 * ((t[:, None] - loc[:, k]) / scale[:, k]) ** 2) / scale[:, k]
        axes.plot(t, density.mean(1) / math.sqrt(2 * math.pi), color=BLUE, alpha=0.6, linewidth=1)
    prior = np.exp(-0.5 * t**2) / math.sqrt(2 * math.pi)
    axes.plot(t, prior, color=ORANGE, linestyle="--", linewidth=2)
    axes.plot([], [], color=BLUE, label="aggregate posterior, a line per component")
    axes.plot([], [], color=ORANGE, linestyle="--", linewidth=2, label="prior")
    axes.set_xlabel("z")
    axes.set_ylabel("density")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def quantiles(z: ArrayLike, at_most: int = 12) -> Figure:
    """Draw quantiles of the columns of z (N, latent_dim) over those of a standard Normal."""
    z = np.asarray(z)
    shares = (np.arange(1, 100)) / 100
    normal = np.array([NormalDist().inv_cdf(s) for s in shares])
    figure = Figure(figsize=(4.8, 4), layout="constrained")
    axes = figure.subplots()
    for column in z.T[:at_most]:
        axes.plot(normal, np.quantile(column, shares), color=BLUE, alpha=0.6, linewidth=1)
    axes.plot(normal, normal, color=ORANGE, linestyle="--", linewidth=2)
    axes.plot([], [], color=BLUE, label="after the last step, a line per component")
    axes.plot([], [], color=ORANGE, linestyle="--", linewidth=2, label="prior")
    axes.set_xlabel("quantile of the prior")
    axes.set_ylabel("quantile of z")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def power_spectra(curves: dict[str, tuple[ArrayLike, ArrayLike]]) -> Figure:
    """Draw power, on a logarithmic scale, over spatial frequency for sets of images by name."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, (frequency, power)), colour, style in zip(
        curves.items(), (GREY, BLUE, ORANGE), ("-", "--", "-.")
    ):
        axes.plot(frequency, power, style, color=colour, label=name, linewidth=2)
    axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("spatial frequency (cycles per image)")
    axes.set_ylabel("power (squared pixel values)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
