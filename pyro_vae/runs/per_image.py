"""`per_image.npz`: the final measures of each test and validation image, for paired comparisons."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyro_vae.files import read_file, replace_file

LARGEST = 2**30  # bytes


@dataclass(frozen=True)
class PerImage:
    """The measures of each image of one split, in nats, and the mark of these images.

    The columns (N,) are those of `pyro_vae.evaluation.terms.per_image`. Runs with the same mark
    were measured on the same images in the same order.
    """

    mark: int
    columns: dict[str, np.ndarray]


def mark_of(images: Tensor) -> int:
    """Return a number that tells images (N, C, H, W) from others."""
    return zlib.crc32(images.detach().cpu().float().contiguous().numpy().data)


def save_per_image(path: Path, splits: Mapping[str, tuple[Tensor, dict[str, Tensor]]]) -> None:
    """Write the measures of each image.

    Args:
        splits: by name, images (N, C, H, W) and columns (N,) of measures.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: dict[str, Any] = {}
    for split, (images, columns) in splits.items():
        arrays[f"{split}.mark"] = np.array(mark_of(images), dtype=np.int64)
        for name, values in columns.items():
            arrays[f"{split}.{name}"] = values.detach().cpu().float().numpy()
    content = io.BytesIO()
    np.savez(content, **arrays)
    replace_file(path, content.getvalue())


def load_per_image(path: Path) -> dict[str, PerImage]:
    """Return the measures of each image by split; none where there is no file.

    Raises:
        ValueError: a file that `save_per_image` did not write.
    """
    try:
        content = read_file(path, LARGEST)
    except FileNotFoundError:
        return {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        splits = {}
        for name in arrays:
            split, _, column = name.partition(".")
            if column == "mark":
                columns = {n.partition(".")[2]: v for n, v in arrays.items() if _is_of(n, split)}
                splits[split] = PerImage(int(arrays[name]), columns)
        if not all(v.ndim == 1 for split in splits.values() for v in split.columns.values()):
            raise ValueError("expected columns")
        return splits
    except (ValueError, TypeError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"per_image: {path} holds no measures of images: {error}") from error


def _is_of(name: str, split: str) -> bool:
    return name.startswith(f"{split}.") and name != f"{split}.mark"
