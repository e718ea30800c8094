"""The user's own images: an array, an archive of arrays, or a folder of pictures."""

import math
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from pyro_vae.data.images import (
    BYTES_PER_PIXEL,
    Arrays,
    Dataset,
    Split,
    check_declared_size,
    check_unit_interval,
    column,
    has_missing,
    random_test_rows,
    reading,
)
from pyro_vae.data.mapped import Items, MappedImages, channels_first
from pyro_vae.data.pictures import AS_THEY_ARE, Form, read_folder
from pyro_vae.files import check_regular, exists
from pyro_vae.notices import notice
from pyro_vae.own_parts import made

# The names to look for in an .npz; the first one present counts. They are our own and those of
# dSprites, Keras and MedMNIST.
WHOLE = {
    "images": ("images", "imgs", "x"),
    "labels": ("labels", "y"),
    "factors": ("factors",),
    "factor_names": ("factor_names",),
}
PARTS = {
    "train": {"images": ("train_images", "x_train"), "labels": ("train_labels", "y_train")},
    "test": {"images": ("test_images", "x_test"), "labels": ("test_labels", "y_test")},
    "validation": {"images": ("val_images", "x_val"), "labels": ("val_labels", "y_val")},
}
ImageSource = Tensor | np.memmap | TorchDataset | DataLoader  # what `fit` takes
NOT_NUMBERS = "truncated, or not plain numbers; objects are never unpickled"


def load_own(path: Path, levels: int | None, limit: float, form: Form = AS_THEY_ARE) -> Dataset:
    """Return a data set of the images in a file or a folder; see `load_dataset` for the formats.

    Args:
        limit: gigabytes of memory that the images may take.
        form: the size and the channels of pictures.

    Raises:
        ValueError: if the path does not exist, or does not hold images of one size with pixels in a
            known range; if they are too large, or the file is a pipe or a device.
    """
    return _data_set(_read(path, limit, form, may_map=True), levels, path)


def load_made(name: str, levels: int | None) -> Dataset:
    """Return the data set that a function of the user's own returns; see `load_dataset`.

    Args:
        name: its import path.

    Raises:
        ValueError: a function that cannot be imported or fails; what is no images.
    """
    found, path = made("dataset", name, {}), Path(name)
    found = found if isinstance(found, Mapping) else {"images": found}
    arrays = {key: _as_array(value) for key, value in found.items()}
    return _data_set(_checked(_read_archive(arrays, path), arrays, path), levels, path)


def _as_array(value) -> np.ndarray | Items:
    of_torch = isinstance(value, (TorchDataset, DataLoader))
    return Items(value) if of_torch else np.asanyarray(value)  # a mapped array stays one


def _data_set(parts: dict[str, Arrays], levels: int | None, path: Path) -> Dataset:
    splits, levels = _splits(parts, levels, path)
    if any(has_missing(split.images) for split in splits.values()):
        raise ValueError(
            f"dataset: {path} has missing pixels (NaN), and a run needs all; in Python pv.fit trains"
            " on a tensor with NaN, and runs encode, impute and score such images"
        )
    if "train" not in splits:
        splits = _divide(path, splits["whole"])
    elif "test" not in splits:
        notice(f"dataset: {path} has no test images: its validation images are the test set")
        splits["test"] = splits.pop("validation")
    names = _factor_names(next(iter(parts.values())), splits["train"].factors, path)
    held_out = splits.get("validation")
    return Dataset(path.stem, splits["train"], splits["test"], levels, held_out, False, names)


def load_whole(
    path: Path, levels: int | None, limit: float, form: Form = AS_THEY_ARE
) -> tuple[Dataset, list[str]]:
    """Return all images of a file or a folder in their order, and the names of pictures' files.

    They are the training images of the data set, which has no test images.

    Args:
        levels: the number of grey levels of whole numbers.
        limit: gigabytes of memory that the images may take.
        form: the size and the channels of pictures.

    Raises:
        ValueError: what `load_own` refuses, but a single image is enough.
    """
    parts = _read(path, limit, form)
    kinds = {part.images.dtype.kind for part in parts.values()}
    splits, found = _splits(parts, levels if kinds <= {"i", "u"} else None, path)
    labels = [split.labels for split in splits.values() if split.labels is not None]
    whole = Split(
        torch.cat([split.images for split in splits.values()]),
        torch.cat(labels) if len(labels) == len(splits) else None,
    )
    named = [part.names for part in parts.values() if part.names is not None]
    return Dataset(path.stem, whole, whole[:0], found), [
        n for names in named for n in names.tolist()
    ]


def _read(path: Path, limit: float, form: Form, may_map: bool = False) -> dict[str, Arrays]:
    """Return the parts of a split that a file or a folder holds, or `whole`.

    Args:
        may_map: whether what is larger than the limit stays in a file, if it can.
    """
    if not exists(path):
        raise ValueError(f"dataset: there is no file or folder {path.absolute()}")
    if path.is_dir():
        return read_folder(path, limit, form, may_map)
    if path.suffix in (".npy", ".npz"):
        if form != AS_THEY_ARE:
            name = next(iter(form.given))
            raise ValueError(f"{name}: only pictures of a folder are converted, got {path}")
        return _read_arrays(path, limit, may_map)
    raise ValueError(f"dataset: expected a folder, an .npy or an .npz file, got {path}")


def _splits(
    parts: dict[str, Arrays], levels: int | None, path: Path
) -> tuple[dict[str, Split], int | None]:
    """Return the splits of the parts, and the number of grey levels, which they share."""
    read = {name: _split(part, levels, f"{path}") for name, part in parts.items()}
    kinds = {(tuple(split.images.shape[1:]), n) for split, n in read.values()}
    if len(kinds) > 1:
        raise ValueError(f"dataset: {path} mixes images of different shapes or types: {kinds}")
    return {name: split for name, (split, _) in read.items()}, kinds.pop()[1]


def _factor_names(arrays: Arrays, factors: Tensor | None, path: Path) -> tuple[str, ...]:
    """Return the names of an archive's factors; factors without names are kept but not scored."""
    if arrays.factor_names is None:
        return ()
    names = arrays.factor_names
    columns = 0 if factors is None else factors.shape[1]
    if names.dtype.kind != "U" or names.shape != (columns,):
        raise ValueError(
            f"dataset: expected {columns} strings as factor_names in {path}, got {names.dtype} of"
            f" shape {names.shape}"
        )
    return tuple(names.tolist())


def _divide(path: Path, whole: Split) -> dict[str, Split]:
    if len(whole) < 2:
        raise ValueError(f"dataset: expected at least 2 images in {path}, got {len(whole)}")
    train, test = (torch.from_numpy(rows) for rows in random_test_rows(len(whole)))
    return {"train": whole.subset(train), "test": whole.subset(test)}


# --- arrays --------------------------------------------------------------------------------------


def _read_arrays(path: Path, limit: float, may_map: bool) -> dict[str, Arrays]:
    check_regular(path)
    with reading(path, NOT_NUMBERS):
        declared = _declared_bytes(path)
        if may_map and path.suffix == ".npy" and declared / 1e9 > limit:
            whole = Arrays(np.load(path, mmap_mode="r", allow_pickle=False))
            notice(f"dataset: {path} is read while training, since it exceeds --data-limit")
            return {"whole": whole}
    check_declared_size(path, declared, limit)
    with reading(path, NOT_NUMBERS):
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"whole": Arrays(content)}
        with content as archive:
            parts, names = _read_archive(archive, path), list(archive)
    return _checked(parts, names, path)


def _checked(parts: dict[str, Arrays], names: Iterable[str], path: Path) -> dict[str, Arrays]:
    if not parts:
        expected = "expected images, or train_images and test_images"
        raise ValueError(f"dataset: {path} holds {', '.join(names) or 'nothing'}; {expected}")
    return parts


def _declared_bytes(path: Path) -> int:
    """Return the bytes that an .npy file or an .npz archive declares, at least those of float32."""
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


def _read_archive(archive: Mapping, path: Path) -> dict[str, Arrays]:
    """Return the parts of an archive, the whole alone, or nothing if it holds no images."""
    unread = set(archive)

    def pick(names: Mapping[str, tuple[str, ...]]) -> Arrays | None:
        known = {role: next((n for n in ns if n in archive), None) for role, ns in names.items()}
        if known["images"] is None:
            return None
        unread.difference_update(known.values())
        return Arrays(**{role: archive[name] for role, name in known.items() if name})

    parts = {part: arrays for part, names in PARTS.items() if (arrays := pick(names))}
    if "train" not in parts or len(parts) == 1:
        unread.update(archive)
        whole = pick(WHOLE)
        if whole is None and len(unread) == 1:
            whole = Arrays(archive[unread.pop()])
            if list(archive) != ["arr_0"]:  # as numpy calls an array that is saved without a name
                notice(f"dataset: {path}: took {next(iter(archive))} as the images")
        parts = {"whole": whole} if whole else {}
    if parts and unread:
        notice(f"dataset: {path}: left out {', '.join(sorted(unread))}")
    return parts


def mapped(images: ImageSource, levels: int | None) -> Tensor:
    """Return a mapped array or a data set of torch as images; tensors are images.

    Args:
        images: an array in one of the forms of `load_dataset`, or what `Items` takes.
        levels: the number of grey levels, if pixels are whole numbers.

    Raises:
        ValueError: an array that does not hold images.
    """
    if not isinstance(images, (np.memmap, TorchDataset, DataLoader)):
        return images
    array = channels_first(images, "images") if isinstance(images, np.memmap) else Items(images)
    return _pixels(array, levels if array.dtype.kind in "iu" else None, "images")[0]


def _split(arrays: Arrays, levels: int | None, where: str) -> tuple[Split, int | None]:
    images, levels = _pixels(channels_first(arrays.images, where), levels, where)
    labels = column(arrays.labels, len(images), 1, f"labels in {where}")
    factors = column(arrays.factors, len(images), 2, f"factors in {where}")
    return Split(images, labels, factors), levels


def _pixels(
    images: np.ndarray | Items, levels: int | None, where: str, missing: bool = True
) -> tuple[Tensor, int | None]:
    """Return pixels in [0, 1] and the number of their grey levels, or None if it is not known.

    Those of a mapped array and of items stay there, and are checked whenever they are read.

    Args:
        missing: whether pixels may be missing (NaN); those of a file and of items may not.
    """
    if isinstance(images, (np.memmap, Items)):
        known = _pixels(np.asarray(images[np.arange(1)]), levels, where, missing=False)[1]
        return MappedImages.of(images, lambda x: _pixels(x, levels, where, False)[0]), known
    kind = images.dtype.kind
    if kind in "bui":
        return _whole_pixels(images, levels, where)
    if kind != "f":
        raise ValueError(f"dataset: expected numbers in {where}, got {images.dtype}")
    x = torch.from_numpy(images.astype(np.float32))
    check_unit_interval(x, missing)
    if levels is None:
        return x, None
    tolerance = max(1e-3, np.finfo(images.dtype).eps * (levels - 1))
    return on_grid(x, levels, where, tolerance), levels


def _whole_pixels(images: np.ndarray, levels: int | None, where: str) -> tuple[Tensor, int]:
    known = {"bool": 2, "uint8": 256}.get(images.dtype.name)
    levels = known if levels is None else levels
    if levels is None:
        raise ValueError(
            f"levels: give the number of grey levels of the {images.dtype} pixels in {where},"
            " or save them as uint8"
        )
    if images.min() < 0 or images.max() >= levels:
        raise ValueError(
            f"dataset: expected pixels of {levels} grey levels, 0 to {levels - 1}, in {where},"
            f" got {images.min()} to {images.max()}"
        )
    x = images.astype(np.float32)
    x /= levels - 1
    return torch.from_numpy(x), levels


def on_grid(x: Tensor, levels: int, where: str, tolerance: float = 1e-3) -> Tensor:
    """Return pixels in [0, 1] rounded to the grid of grey levels.

    Args:
        where: what holds the images, for the message.
        tolerance: how far from a grey level, in levels, a pixel may be.

    Raises:
        ValueError: a pixel lies between grey levels.
    """
    v = x * (levels - 1)
    off = (v - v.round()).abs() > tolerance
    if off.any():
        raise ValueError(
            f"levels: expected the {levels} grey levels v / {levels - 1} in {where}, got pixels"
            f" between them, as {x[off][0]:.6g}"
        )
    return v.round() / (levels - 1)
