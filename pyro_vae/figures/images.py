"""Pictures of images: grids, rows with names, originals over reconstructions, frames of videos."""

import math
from typing import Any

import imageio.v3 as imageio
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from pyro_vae.figures import blank, plain
from pyro_vae.names import check_name

SMALLEST = 28  # pixels of a side: smaller images are drawn larger
WIDTH = 480  # pixels of a picture, at least


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


def grid(images: ArrayLike, columns: int) -> np.ndarray:
    """Return images (N, C, H, W) in rows of `columns`, as a picture of at least 480 pixels in width."""
    picture = tile(enlarged(images), columns)
    factor = math.ceil(WIDTH / picture.shape[1])
    return picture.repeat(factor, 0).repeat(factor, 1)


def named_rows(rows: dict[str, ArrayLike], title: str) -> Figure:
    """Draw rows of equally many images (N, C, H, W), each with its name to the left."""
    images = [enlarged(row) for row in rows.values()]
    picture = tile(np.concatenate(images), len(images[0]))
    height = 5.2 * picture.shape[0] / picture.shape[1] + 0.35
    figure, axes = blank(7, height)
    axes.imshow(picture, interpolation="none", vmin=0, vmax=1)
    pitch = (picture.shape[0] + 1) / len(rows)
    names = [plain(name) for name in rows]
    axes.set_yticks([pitch * (n + 0.5) - 1 for n in range(len(rows))], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    axes.set_title(plain(title), fontsize=10)
    return figure


def reconstruction_grid(originals: ArrayLike, reconstructions: ArrayLike) -> np.ndarray:
    """Return a picture of rows of up to eight originals, each over their reconstructions.

    Images that fill no row are left out.
    """
    originals, reconstructions = np.asarray(originals), np.asarray(reconstructions)
    columns, rows = min(8, len(originals)), []
    for start in range(0, len(originals) - columns + 1, columns):
        rows += [originals[start : start + columns], reconstructions[start : start + columns]]
    return grid(np.concatenate(rows), columns)


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return two pictures (height, width, 3) side by side, on white."""
    height, between = max(len(left), len(right)), left.shape[1] // 16
    canvas = np.ones((height, left.shape[1] + between + right.shape[1], 3))
    canvas[: len(left), : left.shape[1]] = left
    canvas[: len(right), -right.shape[1] :] = right
    return canvas


# --- videos ---------------------------------------------------------------------------------------


VIDEO_TYPES = (".mp4", ".gif")
LINE = 26  # pixels of the counter, an even number


def frames(images: ArrayLike, columns: int, side: int = 480) -> np.ndarray:
    """Return images (T, N, C, H, W) in [0, 1] as T pictures of 8 bits, each a grid of `columns`.

    Every pixel becomes a square, so that a picture is about `side` pixels wide. Height and width
    are even, since players require it.
    """
    tiles = np.stack([tile(step, columns) for step in np.asarray(images)])
    pictures = (tiles.clip(0, 1) * 255).round().astype(np.uint8)
    factor = max(1, round(side / pictures.shape[2] / 2) * 2)
    pictures = pictures.repeat(factor, 1).repeat(factor, 2)
    odd = [(0, size % 2) for size in pictures.shape[1:3]]  # where the grid is wide already
    return np.pad(pictures, [(0, 0), *odd, (0, 0)], constant_values=255)


def counted(pictures: np.ndarray) -> np.ndarray:
    """Return frames (T, height, width, 3) with a line above each that counts them from 0."""
    lines = []
    for step in range(len(pictures)):
        line = Image.new("RGB", (pictures.shape[2], LINE), "white")
        text = f"step {step} of {len(pictures) - 1}"
        ImageDraw.Draw(line).text((6, 5), text, fill="black", font_size=14)
        lines.append(np.asarray(line))
    return np.concatenate([np.stack(lines), pictures], axis=1)


def slow_start(pictures: np.ndarray, first: int = 10, times: int = 5) -> np.ndarray:
    """Return frames of which the first ten are shown five times as long as the others."""
    repeats = np.ones(len(pictures), dtype=int)
    repeats[:first] = times
    return pictures.repeat(repeats, axis=0)


def encode_video(pictures: np.ndarray, ending: str, frames_per_second: int = 10) -> bytes:
    """Return pictures (T, height, width, 3) of 8 bits as an MP4 (H.264), or as a GIF for notebooks.

    Args:
        ending: `.mp4` or `.gif`.

    Raises:
        ValueError: another ending.
    """
    check_name("ending: file type", ending, VIDEO_TYPES)
    if ending == ".mp4":
        options: dict[str, Any] = {
            "fps": frames_per_second,
            "codec": "libx264",
            "macro_block_size": 2,
        }
    else:
        options = {"duration": 1000 / frames_per_second, "loop": 0}
        if (pictures == pictures[..., :1]).all():  # an eighth of the time, and the same file
            pictures = pictures[..., 0]
    return imageio.imwrite("<bytes>", pictures, extension=ending, **options)
