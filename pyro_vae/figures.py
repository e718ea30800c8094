"""Arrays in, a matplotlib `Figure` out; nothing here calls a model, shows or saves."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_vae.evaluation.latents import COLLAPSED_RATE

TERMS = ("elbo", "rate", "distortion")
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#888888"  # told apart by the colour-blind (Okabe, Ito)


def tile(images: ArrayLike, columns: int, gap: int = 1) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] as one picture (height, width, 3), row by row, on white."""
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
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def image_grid(images: ArrayLike, columns: int, title: str) -> Figure:
    """Images (N, C, H, W) in rows of `columns`."""
    picture = tile(images, columns)
    height = 4.8 * picture.shape[0] / picture.shape[1] + 0.25
    figure = Figure(figsize=(4.8, height), layout="constrained")
    _picture(figure.subplots(), images, columns, title)
    return figure


def _in_pairs(originals: ArrayLike, reconstructions: ArrayLike, columns: int) -> np.ndarray:
    """Rows of `columns` originals, each over the row of its reconstructions."""
    originals, reconstructions = np.asarray(originals), np.asarray(reconstructions)
    starts = range(0, len(originals), columns)
    both = (a[s : s + columns] for s in starts for a in (originals, reconstructions))
    return np.concatenate(list(both))


def reconstruction_grid(originals: ArrayLike, reconstructions: ArrayLike) -> Figure:
    """Rows of eight originals (N, C, H, W), each over the row of its reconstructions."""
    pairs = _in_pairs(originals, reconstructions, 8)
    return image_grid(pairs, 8, "Originals (odd rows) over their reconstructions (even rows)")


def progress(
    originals: ArrayLike, reconstructions: ArrayLike, samples: ArrayLike, epoch: int
) -> Figure:
    """The state after an epoch: reconstructions on the left, samples on the right."""
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
    """`elbo`, `rate` or `distortion` over epochs, from the columns of metrics.csv."""
    figure = Figure(figsize=(4, 3), layout="constrained")
    _learning_curve(figure.subplots(), metrics, term)
    return figure


def learning_curves(metrics: dict[str, ArrayLike]) -> Figure:
    """ELBO, rate and distortion over epochs, training and test, from the columns of metrics.csv."""
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
    """KL per latent component as sorted bars, and its histogram; mean rates (latent_dim,) in nats."""
    panels = []
    for draw in (_kl_bars, _kl_counts):
        figure = Figure(figsize=(4, 3), layout="constrained")
        draw(figure.subplots(), np.asarray(rates, dtype=float))
        panels.append(figure)
    panels[1].legend(loc="outside lower center", ncols=2, frameon=False)
    return tuple(panels)


def kl_histogram(rates: ArrayLike) -> Figure:
    """Both of `kl_panels` in one figure, from rates (N, latent_dim) in nats."""
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
