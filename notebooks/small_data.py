"""Parts of a data set as an archive of their own, for experiments that are to be short."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn.functional import max_pool2d

from pyro_vae.data.images import Dataset
from pyro_vae.files import replace_file


def save_part(data: Dataset, path: str | Path, images: int, side: int | None = None) -> str:
    """Write the first training images of binary pixels as an archive, and return its path.

    The archive has the images' true factors and the factors' names, if they are known. It can be
    given as a data set of one's own.

    Args:
        data: a data set of two levels.
        path: the archive, which ends in `.npz`.
        images: how many of the training images are taken.
        side: the height and width of the images, which divide those of the data. A pixel is 1 where
            any of the pixels that it stands for is (default: as they are).

    Raises:
        ValueError: data of more levels, or a side that does not divide theirs.
        OSError: the file cannot be written.
    """
    if data.levels != 2:
        raise ValueError(f"data: expected two levels, got {data.levels}")
    part, (_, height, width) = data.train[:images], data.image_shape
    side = side or height
    if height % side or height != width:
        raise ValueError(f"side: expected a divisor of {height} x {width} pixels, got {side}")
    arrays: dict[str, Any] = {"images": max_pool2d(part.images, height // side).bool().numpy()}
    if part.factors is not None:
        arrays |= {"factors": part.factors.numpy(), "factor_names": np.array(data.factor_names)}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content.getvalue())
    return str(path)
