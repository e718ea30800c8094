"""`per_image.npz`: the final measures of each test and validation image, for paired comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from pyro_vae.kept import load_arrays, mark_of, save_arrays

MARK = "mark"  # no column has this name


@dataclass(frozen=True)
class PerImage:
    """The measures of each image of one split, in nats, and the mark of these images.

    The columns (N,) are those of `pyro_vae.evaluation.terms.per_image`. Runs with the same mark
    were measured on the same images in the same order.
    """

    mark: int
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def save_per_image(path: Path, splits: Mapping[str, tuple[Tensor, dict[str, Tensor]]]) -> None:
    """Write the measures of each image.

    Args:
        splits: by name, images (N, C, H, W) and columns (N,) of measures.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {}
    for split, (images, columns) in splits.items():
        arrays[f"{split}.{MARK}"] = np.array(mark_of(images), dtype=np.int64)
        for name, values in columns.items():
            arrays[f"{split}.{name}"] = values.detach().cpu().float().numpy()
    save_arrays(path, arrays)


def load_per_image(path: Path) -> dict[str, PerImage]:
    """Return the measures of each image by split; none where there is no file.

    Raises:
        ValueError: a file that `save_per_image` did not write.
    """
    splits: dict[str, PerImage] = {}
    try:
        arrays = load_arrays(path)
        for whole, values in arrays.items():
            split, _, name = whole.partition(".")
            if split not in splits:
                splits[split] = PerImage(int(arrays[f"{split}.{MARK}"]))
            if name != MARK:
                splits[split].columns[name] = values
        if not all(v.ndim == 1 for split in splits.values() for v in split.columns.values()):
            raise ValueError("expected columns")
    except FileNotFoundError:
        return {}
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"per_image: {path} holds no measures of images: {error}") from error
    return splits
