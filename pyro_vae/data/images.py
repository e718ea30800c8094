"""Data sets: splits of images with their labels and true factors, and how files become them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data.mapped import MappedImages
from pyro_vae.notices import notice


def has_missing(images: Tensor) -> bool:
    """Return whether pixels are missing, which NaN marks; none is of images that stay in a file."""
    return not isinstance(images, MappedImages) and bool(images.isnan().any())


def check_unit_interval(images: Tensor, missing: bool = False) -> None:
    """Raise a ValueError unless pixels are finite and lie in [0, 1].

    Args:
        missing: whether some pixels, but not all, may be missing, which NaN marks.
    """
    if missing and has_missing(images) and not images.isnan().all():
        images = images[~images.isnan()]
    low, high = images.min().item(), images.max().item()  # NaN if any pixel is NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("images: expected finite pixels, got NaN or infinite ones")
    if low < 0 or high > 1:
        ends = torch.stack(images.aminmax()).cpu().numpy()
        shown = " to ".join(np.format_float_positional(end, trim="-") for end in ends)
        raise ValueError(
            f"images: expected pixels in [0, 1], got {shown}; divide by the largest value that a"
            " pixel can have, or clip what rounding left outside"
        )


def _size(images: Tensor) -> str:
    """Return the size of one image as `channels x height x width`, without spaces."""
    return "x".join(map(str, images.shape[1:]))


@dataclass(frozen=True)
class Split:
    """A set of images, with labels and true factors if they are known.

    Args:
        images: (N, C, H, W) in [0, 1], in memory or in a file.
        labels: (N,), whole numbers.
        factors: (N, F), whole numbers.
    """

    images: Tensor
    labels: Tensor | None = None
    factors: Tensor | None = None

    def __repr__(self) -> str:
        also = [name for name in ("labels", "factors") if getattr(self, name) is not None]
        return f"Split({', '.join([f'{len(self)} images {_size(self.images)}', *also])})"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> "Split":
        return self._with(self.images[rows], rows)

    def subset(self, rows: slice | Tensor) -> "Split":
        """Return some of the images, which stay in a file if all do."""
        x = self.images
        return self._with(x.subset(rows) if isinstance(x, MappedImages) else x[rows], rows)

    def _with(self, images: Tensor, rows: slice | Tensor) -> "Split":
        labels = None if self.labels is None else self.labels[rows]
        factors = None if self.factors is None else self.factors[rows]
        return Split(images, labels, factors)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Split":
        """Return the split with its images and labels on a device, the images in a given type."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device, dtype), labels=labels)


@dataclass(frozen=True)
class Dataset:
    """A data set with its published split.

    Args:
        name: what it is called, or the path it was read from.
        train: the images to train on.
        test: the images to measure on.
        levels: the number of grey levels v / (levels - 1), or None if the pixels are not known to
            lie on such a grid.
        validation: images to choose by, if some were held out.
        dynamic: whether the training images are the probabilities of binary pixels, which are drawn
            anew in each epoch.
        factor_names: the names of the columns of the splits' factors.
        fingerprint: what tells the images from any others, as they were read: before pixels were
            made binary, and before any were held out. Empty where it is not known.
        drawn_validation: whether validation images were drawn at random from the training images.
    """

    name: str
    train: Split
    test: Split
    levels: int | None
    validation: Split | None = None
    dynamic: bool = False
    factor_names: tuple[str, ...] = ()
    fingerprint: str = ""
    drawn_validation: bool = False

    def __repr__(self) -> str:
        held_out = f", {len(self.validation)} validation" if self.validation else ""
        counts = f"{len(self.train)} training{held_out}, {len(self.test)} test images"
        levels = "unknown" if self.levels is None else self.levels
        drawn = ", drawn anew in each epoch" if self.dynamic else ""
        size = _size(self.train.images)
        return f"Dataset({self.name!r}, {counts}, {size}, {levels} grey levels{drawn})"

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Dataset":
        """Return the same data set on a device, with its images in a floating-point type."""
        validation = None if self.validation is None else self.validation.to(device, dtype)
        train, test = self.train.to(device, dtype), self.test.to(device, dtype)
        return replace(self, train=train, test=test, validation=validation)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return the shape (C, H, W) of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def split_from_integers(
    grey: np.ndarray,
    labels: np.ndarray | None = None,
    maximum: int = 255,
    factors: np.ndarray | None = None,
) -> Split:
    """Return a split whose pixels are given as whole numbers.

    Args:
        grey: (N, H, W) or (N, C, H, W), from 0 to `maximum`.
        labels: (N,), whole numbers.
        maximum: the number that becomes a pixel of 1.
        factors: (N, F), whole numbers.

    Raises:
        ValueError: if there are more or fewer labels or factors than images.
    """
    for name, column in (("labels", labels), ("factors", factors)):
        if column is not None and len(column) != len(grey):
            raise ValueError(f"{name}: expected {len(grey)}, one per image, got {len(column)}")
    images = torch.from_numpy(np.ascontiguousarray(grey)).float().div_(maximum)
    images = images.unsqueeze(1) if images.dim() == 3 else images
    known = (
        None if c is None else torch.as_tensor(np.asarray(c)).long() for c in (labels, factors)
    )
    return Split(images, *known)


def random_test_rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the training set, and a random tenth of all rows as the test set.

    The shuffle is always the same. `count` must be at least 2.
    """
    rows = np.random.default_rng(0).permutation(count)
    cut = count - max(1, count // 10)
    return rows[:cut], rows[cut:]


def draw_binary(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw binary pixels that are 1 with the given probabilities, of the same shape and type."""
    u = torch.rand(
        probabilities.shape,
        dtype=probabilities.dtype,
        device=probabilities.device,
        generator=generator,
    )
    return (u < probabilities).to(probabilities.dtype)


# --- files, before they are images -------------------------------------------------------------------

BYTES_PER_PIXEL = 4  # as float32, which all images become


class Arrays(NamedTuple):
    """The images, labels and factors of a file, before they are checked."""

    images: np.ndarray
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None
    factor_names: np.ndarray | None = None
    names: np.ndarray | None = None  # of the files of pictures


def column(values: np.ndarray | None, count: int, dim: int, what: str) -> Tensor | None:
    """Return labels (N,) or factors (N, F), as whole numbers where all are; no other labels."""
    if values is None:
        return None
    if dim == 1 and values.shape[1:] == (1,):
        values = values[:, 0]  # MedMNIST stores labels as one column
    if dim == 2 and values.ndim == 1:
        values = values[:, None]
    numbers = values.dtype.kind in "buif"
    whole = numbers and bool((values % 1 == 0).all())  # NaN and infinity are not
    fits = values.ndim == dim and numbers
    got = f"{values.dtype} of shape {values.shape}"
    if values.shape[:1] != (count,) or (dim == 2 and not fits):
        raise ValueError(f"dataset: expected {count} rows of numbers as {what}, got {got}")
    if dim == 1 and not (fits and whole):
        notice(f"dataset: left out the {what}: expected one whole number per image, got {got}")
        return None
    if dim == 2 and not np.isfinite(values).all():
        raise ValueError(f"dataset: expected finite {what}")
    return torch.from_numpy(values.astype(np.int64 if whole else np.float64))


@contextmanager
def reading(path: Path, reason: str) -> Iterator[None]:
    """Turn every error inside into a ValueError that names the file and a reason."""
    try:
        yield
    except Exception as error:  # numpy, zipfile, zlib and Pillow's decoders share no error class
        kind = type(error).__name__
        raise ValueError(f"dataset: {path} cannot be read: {reason} ({kind})") from error


def check_declared_size(path: Path, size: int, limit: float) -> None:
    """Raise a ValueError unless images fit into the memory that is allowed for them.

    Args:
        path: the file or folder, for the message.
        size: the bytes that it declares, over all images and channels.
        limit: gigabytes.
    """
    if size / 1e9 > limit:
        raise ValueError(
            f"dataset: {path} declares images of {size / 1e9:,.6g} GB in memory, more than"
            f" {limit:g}; raise --data-limit if that is meant; an .npy file, or pictures with"
            " --channels, can stay on the disk"
        )
