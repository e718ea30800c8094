"""Loading of data sets by name or by path, with binarization and a validation set."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pyro_vae.data.images import Dataset, Split, draw_binary, random_test_rows
from pyro_vae.data.mapped import MappedImages, looked_at
from pyro_vae.data.own import load_made, load_own
from pyro_vae.data.pictures import AS_THEY_ARE, SIZED, Form
from pyro_vae.data.published import PUBLISHED, load_digits
from pyro_vae.data.sprites import load_sprites
from pyro_vae.kept import digest
from pyro_vae.names import BINARIZE, check_dataset_name, check_name, is_made, is_path
from pyro_vae.randomness import one_at_a_time
from pyro_vae.settings import DATA_LIMIT

LOADERS: dict[str, Callable[..., Dataset]] = {
    "digits": load_digits,
    "sprites": load_sprites,
    **PUBLISHED,
}


def binarized(data: Dataset, how: str, seed: int) -> Dataset:
    """Return a data set of binary pixels; `how` and the errors are those of `load_dataset`."""
    if how == "none":
        return data
    if data.levels == 2:
        raise ValueError(f"binarize: {data.name} is binary already, got {how!r}; use 'none'")
    if isinstance(data.train.images, MappedImages):
        raise ValueError(f"binarize: images that stay in their file are not changed, got {how!r}")
    generator = torch.Generator().manual_seed(seed)

    def convert(split: Split) -> Split:
        x = split.images
        binary = (x >= 0.5).float() if how == "threshold" else draw_binary(x, generator)
        return replace(split, images=binary.masked_fill(x.isnan(), torch.nan))  # missing stay so

    test, validation = convert(data.test), data.validation and convert(data.validation)
    train = data.train if how == "dynamic" else convert(data.train)
    dynamic = how == "dynamic"
    return replace(data, train=train, test=test, levels=2, validation=validation, dynamic=dynamic)


def _with_validation(data: Dataset) -> Dataset:
    if data.validation is not None:
        return data
    count, labels = len(data.train), data.train.labels
    if count < 2:
        raise ValueError(
            f"validation: {data.name} has too few images to hold some out for selection"
        )
    if labels is not None and labels.diff().min() >= 0:  # the last tenth would be of one class
        rows, held_out = map(torch.from_numpy, random_test_rows(count))
        train, chosen = data.train[rows], data.train[held_out]
        return replace(data, train=train, validation=chosen, drawn_validation=True)
    cut = count - max(1, count // 10)
    train, chosen = data.train.subset(slice(cut)), data.train.subset(slice(cut, None))
    return replace(data, train=train, validation=chosen)


def _with_fewer(data: Dataset, count: int) -> Dataset:
    """Return the data set with so many of its training images, in their order."""
    if count > len(data.train):
        raise ValueError(f"train_images: expected at most {len(data.train)}, got {count}")
    chosen = np.random.default_rng(0).permutation(len(data.train))[:count]
    return replace(data, train=data.train.subset(torch.from_numpy(np.sort(chosen))))


@one_at_a_time()
def load_dataset(
    name: str | Path,
    root: str | Path = "data",
    binarize: str = "none",
    validation: bool = False,
    seed: int = 0,
    levels: int | None = None,
    limit: float = DATA_LIMIT,
    download: bool = True,
    train_images: int | None = None,
    form: Form = AS_THEY_ARE,
) -> Dataset:
    """Return a data set: images in [0, 1], labels, true factors and the published split.

    Your own images may be

    - an `.npy` array (N, H, W), (N, C, H, W) or (N, H, W, C). Its type is uint8 (256 grey levels),
      bool (2), another type of whole numbers (give `levels`), or floats in [0, 1] (give `levels` if
      they lie on a grid of grey levels);
    - an `.npz` archive of `images` (or a single array), with `labels`, `factors` and `factor_names`
      if there are any. Disentanglement is scored if the factors are whole numbers and have names.
      The archive may instead hold `train_images`, `train_labels`, `test_images` and `test_labels`;
    - a folder of 8-bit pictures of one size. Its subfolders are labels, unless they are called
      train, test or validation. Each frame of a file is a picture.

    If there is no test set, the validation set is taken, or else a random tenth of the images, the
    same tenth each time. A notice says what is left out.

    Args:
        name: one of `DATASETS`, a path, or the import path of a function, as in `mine.py:make`,
            that returns images, or a mapping of the names of an archive. Its images may be arrays,
            tensors, data sets of torch or loaders of them, of which the last two are read while
            they are used.
        root: the folder of the published files. Missing files are downloaded into it.
        binarize: `none`; `threshold`, a cut at one half; `static`, pixels drawn once with the grey
            value as probability; or `dynamic`, training pixels drawn anew in each epoch and test
            pixels once.
        validation: hold out images for selection. They are the published validation set, or the
            last tenth of the training set if none is published, or a random tenth if the training
            images are sorted by their labels.
        seed: the seed of the pixels that are drawn once.
        levels: the number of grey levels of your own images, if their type does not determine it.
        limit: the gigabytes of memory that your own images may take, and CelebA. A larger `.npy`
            array stays in its file, and is read while it is used. So are pictures whose channels
            are given, which are decoded into the user's cache folder. Others are refused.
        download: whether to download files that are missing.
        train_images: the number of training images, a random choice that is always the same
            (default: all).
        form: the size and the channels of pictures of a folder (default: as they are) or of CelebA
            (default: 64 and 3).

    Raises:
        ValueError: if the name is unknown; if files are missing or damaged and cannot be
            downloaded; if images differ in size or pixels are out of range; if `binarize` is given
            for binary data; if `levels` is given for a data set that has its own.

    Example:
        >>> data = load_dataset("digits")
        >>> data.image_shape, data.levels, len(data.train), len(data.test)
        ((1, 8, 8), 17, 1437, 360)
    """
    name = check_dataset_name(os.path.expanduser(str(name)))
    check_name("binarize", binarize, BINARIZE)
    if is_made(name):
        data = load_made(name, levels)
    elif is_path(name):
        data = load_own(Path(name), levels, limit, form)
    elif form != AS_THEY_ARE and name not in SIZED:
        raise ValueError(
            f"{next(iter(form.given))}: {name} has its own; only pictures are converted"
        )
    elif levels is not None:
        raise ValueError(f"levels: {name} has its own; only your own images take {levels}")
    else:
        given = {"form": form, "limit": limit} if name in SIZED else {}
        data = LOADERS[name](Path(root), download, **given)
    parts = [split.images for split in (data.train, data.validation, data.test) if split]
    data = replace(data, fingerprint=digest(*map(looked_at, parts)))
    data = _with_validation(data) if validation else replace(data, validation=None)
    data = data if train_images is None else _with_fewer(data, train_images)
    return binarized(data, binarize, seed)
