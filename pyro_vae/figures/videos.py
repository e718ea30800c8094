"""Videos: images become frames, and frames become a file."""

from typing import Any

import imageio.v3 as imageio
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from pyro_vae.figures.images import tile
from pyro_vae.names import check_name

VIDEO_TYPES = (".mp4", ".gif")
LINE = 26  # pixels of the counter, an even number


def frames(images: ArrayLike, columns: int, side: int = 480) -> np.ndarray:
    """Return images (T, N, C, H, W) in [0, 1] as T pictures of 8 bits, each a grid of `columns`.

    Every pixel becomes a square, so that a picture is about `side` pixels wide. Height and width
    are even, since players require it.
    """
    pictures = np.stack([tile(step, columns) for step in np.asarray(images)])
    factor = max(1, round(side / pictures.shape[2] / 2) * 2)
    pictures = pictures.repeat(factor, 1).repeat(factor, 2)
    odd = [(0, size % 2) for size in pictures.shape[1:3]]  # where the grid is wide already
    pictures = np.pad(pictures, [(0, 0), *odd, (0, 0)], constant_values=1.0)
    return (pictures.clip(0, 1) * 255).round().astype(np.uint8)


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
    return imageio.imwrite("<bytes>", pictures, extension=ending, **options)
