"""Kept results: arrays that are computed once, and stored under a mark of what they were made from."""

import io
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyro_vae.files import read_file, replace_file
from pyro_vae.notices import notice

MARK = "made from"  # the array that holds the mark; no result has this name
LARGEST = 2**30  # bytes

Arrays = dict[str, np.ndarray]


def kept(path: str | Path, mark: str, compute: Callable[[], Mapping[str, Any]]) -> Arrays:
    """Return the arrays that a file keeps, or new ones, which it keeps from then on.

    They are computed where there is no file, where it holds another mark, and where it cannot be
    read, of which a notice says so. A folder that cannot be written to keeps nothing.

    Args:
        path: the file, whose name ends in `.npz`; its folder is created.
        mark: what the arrays are made from, such as names, settings and the marks of images.
        compute: a function that returns numbers, words or arrays by name.

    Example:
        >>> kept("squares.npz", "of 3", lambda: {"squares": [0, 1, 4]})  # doctest: +SKIP
        {'squares': array([0, 1, 4])}
    """
    path = Path(path)
    arrays = _stored(path)
    if str(arrays.pop(MARK, "")) == mark:
        return arrays
    arrays = {name: np.asarray(values) for name, values in compute().items()}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, arrays | {MARK: np.array(mark)})
    return arrays


def _stored(path: Path) -> Arrays:
    """Return the arrays in a file; none where there is no file, or one that cannot be read."""
    try:
        return load_arrays(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        notice(f"kept: {error}; what it held is computed again")
        return {}


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name into one file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]  # whose other argument is a flag
    replace_file(path, content.getvalue())


def load_arrays(path: Path) -> Arrays:
    """Return the arrays in a file, by name.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be opened.
        ValueError: it is no archive of arrays, or a damaged one.
    """
    content = io.BytesIO(read_file(path, LARGEST))
    try:
        with np.load(content, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # there is no common class for what a damaged file raises
        raise ValueError(f"{path} cannot be read: {type(error).__name__}") from error


def mark_of(images: Tensor) -> int:
    """Return a number that tells images (N, C, H, W) from others."""
    return zlib.crc32(images.detach().cpu().float().contiguous().numpy().data)
