"""`load_dataset`: a data set by its name or its path, binarized and divided as asked for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from pyro_vae.data import published
from pyro_vae.data.images import Dataset, Split, draw_binary
from pyro_vae.data.own import load_own
from pyro_vae.data.sprites import load_sprites
from pyro_vae.names import BINARIZE, check_dataset_name, check_name, is_path

LOADERS: dict[str, Callable[[Path], Dataset]] = {
    "digits": published.load_digits,
    "sprites": load_sprites,
    "mnist": published.load_mnist,
    "fashion_mnist": published.load_fashion_mnist,
    "kmnist": published.load_kmnist,
    "svhn": published.load_svhn,
    "cifar10": published.load_cifar10,
    "binarized_mnist": published.load_binarized_mnist,
    "dsprites": published.load_dsprites,
}


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
    dynamic = how == "dynamic"
    return replace(data, train=train, test=test, levels=2, validation=validation, dynamic=dynamic)


def _with_validation(data: Dataset) -> Dataset:
    if data.validation is not None:
        return data
    cut = len(data.train) - max(1, len(data.train) // 10)
    if cut == 0:
        raise ValueError(f"patience: {data.name} has too few images to hold some out for selection")
    return replace(data, train=data.train[:cut], validation=data.train[cut:])


def load_dataset(
    name: str | Path,
    root: str | Path = "data",
    binarize: str = "none",
    validation: bool = False,
    seed: int = 0,
    levels: int | None = None,
) -> Dataset:
    """A data set by name or path: images in [0, 1], labels, true factors, published split.

    Your own images may be

    - an `.npy` array (N, H, W), (N, C, H, W) or (N, H, W, C): uint8 (256 grey levels), bool (2),
      other whole numbers (with `levels`), or floats in [0, 1], on the grid that `levels` names;
    - an `.npz` archive of `images` (or a single array), with `labels`, `factors` and `factor_names`
      where there are any (whole numbers with names are what disentanglement is scored by), or of
      `train_images`, `train_labels`, `test_images`, `test_labels`;
    - a folder of 8-bit pictures of one size; subfolders are labels, unless they are `train` and
      `test`.

    Where there is no test set, a tenth of the images at random is one, the same each time.

    Args:
        name: one of `DATASETS`, or a path.
        root: the folder that holds the published files, or takes them when they are downloaded.
        binarize: `none`; `threshold` at one half; `static`, pixels drawn once with the grey value
            as probability; `dynamic`, training pixels drawn anew each epoch and test pixels once.
        validation: hold out images for selection: the published validation set where there is
            one, the last tenth of the training set elsewhere.
        seed: of the pixels that are drawn once.
        levels: grey levels of your own images, where their type does not tell.

    Raises:
        ValueError: an unknown name; files that are missing, damaged and not to be downloaded;
            images of different sizes, or pixels out of range; `binarize` for data that are binary;
            `levels` for a data set that has its own.

    Example:
        >>> data = load_dataset("digits")
        >>> data.image_shape, data.levels, len(data.train), len(data.test)
        ((1, 8, 8), 17, 1437, 360)
    """
    name = check_dataset_name(str(name))
    check_name("binarize", binarize, BINARIZE)
    if is_path(name):
        data = load_own(Path(name), levels)
    elif levels is not None:
        raise ValueError(f"levels: {name} has its own; only your own images take {levels}")
    else:
        data = LOADERS[name](Path(root))
    data = _with_validation(data) if validation else replace(data, validation=None)
    return _binarized(data, binarize, seed)
