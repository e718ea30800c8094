"""The size of images as their files declare it, known before anything is unpacked."""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

BYTES_PER_PIXEL = 4  # as float32, which all images become


def check_declared_size(path: Path, pixels: int, limit: float) -> None:
    """Check that images fit into the memory that is allowed for them.

    Args:
        path: the file or folder, for the message.
        pixels: how many it declares, over all images and channels.
        limit: gigabytes.

    Raises:
        ValueError: they do not.
    """
    needed = pixels * BYTES_PER_PIXEL / 1e9
    if needed > limit:
        raise ValueError(
            f"dataset: {path} declares images of {needed:,.1f} GB in memory, more than {limit:g};"
            " raise --data-limit if that is meant"
        )


def declared_numbers(path: Path) -> int:
    """Return how many numbers an .npy file or an .npz archive declares.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: not such a file.
    """
    if path.suffix == ".npy":
        with open(path, "rb") as file:
            return _declared_by_header(file)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        total = 0
        for name in names:
            with archive.open(name) as member:
                total += _declared_by_header(member)
        return total


def _declared_by_header(file: IO[bytes]) -> int:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"an array of version {version}")
    shape, _, _ = read[version](file)
    return math.prod(shape)
