"""Data sets of images in [0, 1] with a known number of grey levels."""

import gzip
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.names import check_name

BINARIZE = ("none", "threshold", "static", "dynamic")


def check_unit_interval(images: Tensor) -> None:
    """Raise a ValueError where pixels are not finite or lie outside [0, 1]."""
    low, high = images.min().item(), images.max().item()  # NaN where any pixel is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("images: expected finite pixels, got NaN or infinite ones")
    if low < 0 or high > 1:
        raise ValueError(f"images: expected pixels in [0, 1], got {low:.4g} to {high:.4g}")


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) in [0, 1], labels (N,) and true factors (N, F) where there are any."""

    images: Tensor
    labels: Tensor | None = None
    factors: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> "Split":
        columns = (self.images, self.labels, self.factors)
        return Split(*(None if c is None else c[rows] for c in columns))


@dataclass(frozen=True)
class Dataset:
    """A data set with its published split.

    `levels` counts the grey values v / (levels - 1). Where `dynamic` is set, the training images
    are probabilities of binary pixels, to be drawn anew each epoch.
    """

    name: str
    train: Split
    test: Split
    levels: int
    validation: Split | None = None
    dynamic: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(self.train.images.shape[1:])


def _split(grey: np.ndarray, labels: np.ndarray, maximum: int = 255) -> Split:
    """A split from whole numbers 0 ... maximum, (N, H, W) or (N, C, H, W)."""
    images = torch.from_numpy(np.ascontiguousarray(grey)).float() / maximum
    images = images.unsqueeze(1) if images.dim() == 3 else images
    return Split(images, torch.as_tensor(np.asarray(labels)).long())


def _digits(root: Path) -> Dataset:
    from sklearn.datasets import load_digits  # slow to import, and needed for this set only

    digits = load_digits()
    everything = _split(digits.images, digits.target, 16)
    return Dataset("digits", everything[:-360], everything[-360:], 17)


def _from_torchvision(name: str, read: Callable[[Path, bool], Split]) -> Callable[[Path], Dataset]:
    def load(root: Path) -> Dataset:
        try:
            return Dataset(name, read(root, True), read(root, False), 256)
        except (OSError, RuntimeError) as error:
            raise ValueError(_cannot_load(name, root, error)) from error

    return load


def _cannot_load(name: str, root: Path, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"dataset: {name} is not complete under {root} and could not be downloaded ({reason});"
        " delete what is damaged there,"
        f" run 'pyro-vae datasets {name} --data-dir DIR' where there is a network"
        " and give that folder as --data-dir"
    )


def _mnist_like(class_name: str) -> Callable[[Path, bool], Split]:
    def read(root: Path, train: bool) -> Split:
        import torchvision

        source = getattr(torchvision.datasets, class_name)(root, train=train, download=True)
        return _split(source.data.numpy(), source.targets)

    return read


def _svhn(root: Path, train: bool) -> Split:
    from torchvision.datasets import SVHN

    source = SVHN(root / "SVHN", split="train" if train else "test", download=True)
    return _split(source.data, source.labels)


def _cifar10(root: Path, train: bool) -> Split:
    from torchvision.datasets import CIFAR10

    source = CIFAR10(root, train=train, download=True)
    return _split(source.data.transpose(0, 3, 1, 2), source.targets)


_AMAT_URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
_AMAT_SHA256 = {  # as published by TensorFlow Datasets
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}


def _amat_text(root: Path, part: str) -> bytes:
    path = root / "BinarizedMNIST" / f"binarized_mnist_{part}.amat"
    zipped = path.with_name(path.name + ".gz")
    if zipped.exists():
        return gzip.decompress(zipped.read_bytes())
    if not path.exists():
        from torchvision.datasets.utils import download_url

        arriving = path.with_name(path.name + ".part")
        download_url(_AMAT_URL + path.name, path.parent, arriving.name)
        if hashlib.sha256(arriving.read_bytes()).hexdigest() != _AMAT_SHA256[part]:
            raise RuntimeError(f"{path.name} arrived damaged")
        arriving.rename(path)
    return path.read_bytes()


def _amat(root: Path, part: str) -> Split:
    """One part of Larochelle's binarized MNIST: lines of 784 digits between single blanks."""
    text = np.frombuffer(_amat_text(root, part), np.uint8)
    if text.size == 0 or text.size % 1568:
        raise RuntimeError(f"binarized_mnist_{part}.amat is truncated: {text.size} bytes")
    pixels = text.reshape(-1, 1568)[:, ::2] - ord("0")
    if pixels.max() > 1:
        raise RuntimeError(f"binarized_mnist_{part}.amat holds other digits than 0 and 1")
    return Split(torch.from_numpy(pixels).float().view(-1, 1, 28, 28))


def _binarized_mnist(root: Path) -> Dataset:
    try:
        train, valid, test = (_amat(root, part) for part in ("train", "valid", "test"))
    except (OSError, EOFError, RuntimeError) as error:
        raise ValueError(_cannot_load("binarized_mnist", root, error)) from error
    return Dataset("binarized_mnist", train, test, 2, validation=valid)


class Source(NamedTuple):
    """Where a data set comes from: a loader that takes the data folder, and a line about it."""

    load: Callable[[Path], Dataset]
    description: str


DATASETS: dict[str, Source] = {
    "digits": Source(_digits, "1,797 handwritten digits, 8x8, 17 grey levels; embedded"),
    "mnist": Source(
        _from_torchvision("mnist", _mnist_like("MNIST")),
        "70,000 handwritten digits, 28x28, 256 grey levels",
    ),
    "fashion_mnist": Source(
        _from_torchvision("fashion_mnist", _mnist_like("FashionMNIST")),
        "70,000 pieces of clothing, 28x28, 256 grey levels",
    ),
    "kmnist": Source(
        _from_torchvision("kmnist", _mnist_like("KMNIST")),
        "70,000 cursive Japanese characters, 28x28, 256 grey levels",
    ),
    "svhn": Source(
        _from_torchvision("svhn", _svhn), "99,289 house numbers, 32x32 colour, 256 levels"
    ),
    "cifar10": Source(
        _from_torchvision("cifar10", _cifar10), "60,000 photographs, 32x32 colour, 256 levels"
    ),
    "binarized_mnist": Source(
        _binarized_mnist, "MNIST as Larochelle binarized it: 50,000 + 10,000 + 10,000, 2 levels"
    ),
}


def draw_binary(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Binary pixels, 1 with the given probability, of the same shape and type."""
    u = torch.rand(
        probabilities.shape,
        dtype=probabilities.dtype,
        device=probabilities.device,
        generator=generator,
    )
    return (u < probabilities).to(probabilities.dtype)


def _binarized(data: Dataset, how: str, seed: int) -> Dataset:
    if how == "none":
        return data
    if data.levels == 2:
        raise ValueError(f"binarize: {data.name} is binary already, got {how!r}; use 'none'")
    generator = torch.Generator().manual_seed(seed)

    def convert(split: Split) -> Split:
        if how == "threshold":
            return replace(split, images=(split.images >= 0.5).float())
        return replace(split, images=draw_binary(split.images, generator))

    test, validation = convert(data.test), data.validation and convert(data.validation)
    train = data.train if how == "dynamic" else convert(data.train)
    return Dataset(data.name, train, test, 2, validation, dynamic=how == "dynamic")


def _with_validation(data: Dataset) -> Dataset:
    if data.validation is not None:
        return data
    cut = len(data.train) - len(data.train) // 10
    return replace(data, train=data.train[:cut], validation=data.train[cut:])


def load_dataset(
    name: str,
    root: str | Path = "data",
    binarize: str = "none",
    validation: bool = False,
    seed: int = 0,
) -> Dataset:
    """A data set by name: images in [0, 1], labels, published split.

    Args:
        name: one of `DATASETS`.
        root: the folder that holds the files, or takes them when they are downloaded.
        binarize: `none`; `threshold` at one half; `static`, pixels drawn once with the grey value
            as probability; `dynamic`, training pixels drawn anew each epoch and test pixels once.
        validation: hold out images for selection: the published validation set where there is
            one, the last tenth of the training set elsewhere.
        seed: of the pixels that are drawn once.

    Raises:
        ValueError: an unknown name; files that are missing, damaged and not to be downloaded;
            `binarize` for data that are binary.

    Example:
        >>> data = load_dataset("digits")
        >>> data.image_shape, data.levels, len(data.train), len(data.test)
        ((1, 8, 8), 17, 1437, 360)
    """
    source = DATASETS[check_name("dataset", name, DATASETS)]
    check_name("binarize", binarize, BINARIZE)
    data = source.load(Path(root))
    data = _with_validation(data) if validation else replace(data, validation=None)
    return _binarized(data, binarize, seed)
