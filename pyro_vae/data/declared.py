"""What files declare of their images, known before anything is unpacked, and how they are read."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

BYTES_PER_PIXEL = 4  # as float32, which all images become


class Arrays(NamedTuple):
    """The images, labels and factors of a file, before they are checked."""

    images: np.ndarray
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None
    factor_names: np.ndarray | None = None


@contextmanager
def reading(path: Path, reason: str) -> Iterator[None]:
    """Turn every error inside into a ValueError that names the file and a reason."""
    try:
        yield
    except Exception as error:  # numpy, zipfile, zlib and Pillow's decoders share no error class
        kind = type(error).__name__
        raise ValueError(f"dataset: {path} cannot be read: {reason} ({kind})") from error


def check_declared_size(path: Path, size: int, limit: float) -> None:
    """Check that images fit into the memory that is allowed for them.

    Args:
        path: the file or folder, for the message.
        size: the bytes that it declares, over all images and channels.
        limit: gigabytes.

    Raises:
        ValueError: they do not.
    """
    if size / 1e9 > limit:
        raise ValueError(
            f"dataset: {path} declares images of {size / 1e9:,.6g} GB in memory, more than"
            f" {limit:g}; raise --data-limit if that is meant"
        )


def declared_bytes(path: Path) -> int:
    """Return the bytes that an .npy file or an .npz archive declares, at least those of float32.

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
    shape, _, dtype = read[version](file)
    if any(length < 0 for length in shape):
        raise ValueError(f"an array of shape {shape}")
    return math.prod(shape) * max(dtype.itemsize, BYTES_PER_PIXEL)
