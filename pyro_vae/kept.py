"""Kept results: arrays that are computed once, and stored under a mark of what they were made from."""

import hashlib
import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from pyro_vae.devices import in_pieces
from pyro_vae.files import read_file, replace_file
from pyro_vae.notices import notice

MARK = "made from"  # the array that holds the mark; no result has this name
CHECK = "checked by"  # the array that holds the digest of all others
LARGEST = 2**30  # bytes

Arrays = dict[str, np.ndarray]


def kept(path: str | Path | None, mark: str, compute: Callable[[], Mapping[str, Any]]) -> Arrays:
    """Return the arrays that a file keeps, or new ones, which it keeps from then on.

    They are computed where there is no file, where it holds another mark, and where it is not as it
    was written, of which a notice says so. A folder that cannot be written to keeps nothing.

    Args:
        path: the file, whose name ends in `.npz`; its folder is created. None keeps nothing.
        mark: what the arrays are made from, such as names, settings and the digest of images.
        compute: a function that returns numbers, words or arrays by name.

    Example:
        >>> kept("squares.npz", "of 3", lambda: {"squares": [0, 1, 4]})  # doctest: +SKIP
        {'squares': array([0, 1, 4])}
    """
    arrays = {} if path is None else _stored(Path(path))
    if str(arrays.pop(MARK, "")) == mark:
        return arrays
    arrays = {name: np.asarray(values) for name, values in compute().items()}
    if path is not None:
        marked = arrays | {MARK: np.array(mark)}
        with suppress(OSError):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            save_arrays(Path(path), marked | {CHECK: np.array(_digest_of(marked))})
    return arrays


def cache_file(kind: str, mark: str) -> Path | None:
    """Return the file of a result in the user's cache folder; None for a user who has none.

    The folder is `~/.cache/pyro_vae` on Linux, or `pyro_vae` in the folder that `XDG_CACHE_HOME` names.
    All that is in it can be deleted at any time.

    Args:
        kind: what such results are called.
        mark: what this one is made from.
    """
    folder = user_cache_path("pyro_vae", appauthor=False)
    return folder / kind / f"{digest(mark)}.npz" if folder.is_absolute() else None


def digest(*parts: object) -> str:
    """Return what tells arrays with their shapes and types, words and numbers from any others."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            kind = torch.empty(0, dtype=part.dtype).numpy().dtype.str
            found.update(f"{kind} {tuple(part.shape)}".encode())
            for piece in in_pieces(part if part.dim() else part[None]):
                found.update(np.ascontiguousarray(piece.detach().cpu().numpy()).data)
        elif isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str} {part.shape}".encode())
            found.update(np.ascontiguousarray(part).data)
        else:
            found.update(repr(part).encode())
    return found.hexdigest()


def _digest_of(arrays: Arrays) -> str:
    return digest(*(part for name in sorted(arrays) for part in (name, arrays[name])))


def _stored(path: Path) -> Arrays:
    """Return the arrays in a file; none where there is no file, or not the one that was written."""
    try:
        arrays = load_arrays(path)
        if str(arrays.pop(CHECK, "")) != _digest_of(arrays):
            raise ValueError(f"{path} is not as it was written")
        return arrays
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
            if sum(member.file_size for member in file.zip.infolist()) > LARGEST:
                raise ValueError(f"expected at most {LARGEST:,} bytes")
            if file.zip.testzip():  # numpy does not see that an array was cut short
                raise ValueError("expected other checksums")
            return {name: file[name] for name in file.files}
    except Exception as error:  # there is no common class for what a damaged file raises
        raise ValueError(f"{path} cannot be read: {type(error).__name__}") from error
