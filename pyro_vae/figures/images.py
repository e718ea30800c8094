"""Pictures of images: grids, rows with names, originals over reconstructions."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from pyro_vae.figures.palette import plain

SMALLEST = 28  # pixels of a side: smaller images are drawn larger


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


def enlarged(images: ArrayLike) -> np.ndarray:
    """Return images (N, C, H, W), those of under 28 pixels with more pixels, by bicubic interpolation.

    Their height and width are multiplied by the same whole number. Values stay in [0, 1].
    """
    images = np.asarray(images, dtype=np.float32)
    n, channels, height, width = images.shape
    factor = math.ceil(SMALLEST / min(height, width))
    if factor <= 1:
        return images
    size = (factor * width, factor * height)
    planes = [Image.fromarray(plane) for plane in images.reshape(-1, height, width)]
    larger = [np.asarray(plane.resize(size, Image.Resampling.BICUBIC)) for plane in planes]
    return np.stack(larger).reshape(n, channels, *reversed(size)).clip(0, 1)


def _picture(axes: Axes, images: ArrayLike, columns: int, title: str) -> None:
    axes.imshow(tile(enlarged(images), columns), interpolation="none", vmin=0, vmax=1)
    axes.set_title(plain(title), fontsize=10)
    axes.set_axis_off()


def image_grid(images: ArrayLike, columns: int, title: str) -> Figure:
    """Draw images (N, C, H, W) in rows of `columns`."""
    picture = tile(enlarged(images), columns)
    height = 4.8 * picture.shape[0] / picture.shape[1] + 0.25
    figure = Figure(figsize=(4.8, height), layout="constrained")
    _picture(figure.subplots(), images, columns, title)
    return figure


def named_rows(rows: dict[str, ArrayLike], title: str) -> Figure:
    """Draw rows of equally many images (N, C, H, W), each with its name to the left."""
    images = [enlarged(row) for row in rows.values()]
    picture = tile(np.concatenate(images), len(images[0]))
    height = 5.2 * picture.shape[0] / picture.shape[1] + 0.35
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, interpolation="none", vmin=0, vmax=1)
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
