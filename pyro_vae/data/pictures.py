"""Folders of pictures: their split and their labels, which folders tell, and their pixels."""

import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from pyro_vae.data.images import BYTES_PER_PIXEL, Arrays, check_declared_size, reading
from pyro_vae.files import check_regular, exists, replacing
from pyro_vae.kept import cache_file, digest
from pyro_vae.notices import notice

FRAMES = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")  # the frames of others are layers or previews
FORMATS = (*FRAMES, "BMP", "DIB", "JPEG", "JPEG2000", "PCX", "PPM", "SGI", "TGA")  # whole in Pillow
PLAIN_MODES = ("1", "L", "RGB", "P", "RGBA", "LA", "PA", "CMYK", "YCbCr")
NOT_A_PICTURE = "damaged, or not a picture"
SPLIT = re.compile(
    r"(?i:(train|test|val|dev)(?:ing|id|idation)?)(?i:[\W\d_].*|set|data|images)?[A-Z]?"
)
PARTS = {"train": "train", "test": "test", "val": "validation", "dev": "validation"}
SYSTEM = (".", "$", "@", "__MACOSX")  # begin the names of what no owner put there


class Form(NamedTuple):
    """What pictures are made into: squares of a size, and 1 or 3 channels; None leaves them.

    A square is cut around the middle: `crop` pixels, or as many as there are, before it is scaled.
    """

    image_size: int | None = None
    channels: int | None = None
    crop: int | None = None

    @property
    def given(self) -> dict[str, int]:
        """Return what is not left as it is."""
        return {name: value for name, value in self._asdict().items() if value is not None}


AS_THEY_ARE = Form()
SIZED = ("celeba",)  # the published data sets that are made into a form
MODES = {1: "L", 3: "RGB"}
Names = tuple[str, ...]  # of the folders of a picture and of its file, under the data set's folder


def read_folder(
    folder: Path, limit: float, form: Form = AS_THEY_ARE, may_map: bool = False
) -> dict[str, Arrays]:
    """Return the parts of a folder of pictures: `train`, `test` and `validation`, or `whole`.

    Folders that are named as parts of a split are the split; other folders are labels, with the
    same numbers in all parts. Each frame of a file is a picture. A notice says what is left out.

    Args:
        limit: gigabytes of memory that the pictures may take.
        form: what they are made into.
        may_map: whether pictures beyond the limit, whose number of channels is given, are decoded
            into a file, in which they stay.

    Raises:
        ValueError: no pictures, or pictures that are damaged, of different sizes, too large, of
            more than 8 bits or transparent; folders that look like a split and are none.
    """
    known = {end for end, kind in Image.registered_extensions().items() if kind in FORMATS}
    found = sorted(_visible_files(folder))
    files = [path for path in found if path.suffix.lower() in known and exists(path)]
    if not files:
        raise ValueError(f"dataset: expected pictures in the folder {folder}, found none")
    placed = _placed(files, folder)
    kept = [each.file for each in placed]
    counts, sizes = zip(*(_declared(file, form) for file in kept))
    packs = may_map and form.channels is not None and sum(sizes) / 1e9 > limit
    if not packs:
        check_declared_size(folder, sum(sizes), limit)
    if left := [path.name for path in sorted(set(found).difference(kept))]:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        notice(
            f"dataset: {folder}: left out what is no picture or lies beside the folders of the"
            f" others: {', '.join(left[:3])}{more}"
        )
    images = packed(kept, form, sum(counts)) if packs else _read(kept, form)
    numbers = {name: n for n, name in enumerate(sorted({p.label for p in placed if p.label}))}
    parts = np.repeat([each.part for each in placed], counts)
    labels = np.repeat([numbers.get(each.label, -1) for each in placed], counts)
    names = np.repeat([f"{file.relative_to(folder)}" for file in kept], counts)
    read = {}
    for part in dict.fromkeys(each.part for each in placed):
        rows = slice(*np.flatnonzero(parts == part)[[0, -1]] + (0, 1))  # they follow each other
        known_labels = labels[rows] if labels[rows].min() >= 0 else None
        read[part] = Arrays(images[rows], known_labels, names=names[rows])
    return read


# --- folders -------------------------------------------------------------------------------------


def _visible_files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files under a folder and behind its links, without hidden ones and circles."""
    here = folder.resolve()
    if here in above:
        return
    for path in folder.iterdir():
        if path.name.startswith(SYSTEM):
            continue
        if path.is_dir():
            yield from _visible_files(path, (*above, here))
        else:
            yield path


class Placed(NamedTuple):
    """A file of pictures, with the part of the split that it is in, and its class if it has one."""

    file: Path
    part: str
    label: str = ""


def _placed(files: list[Path], folder: Path) -> list[Placed]:
    """Return the files to read, with the parts and the classes that their folders tell."""
    names = _without_wrapper([file.relative_to(folder).parts for file in files])
    parts = ["whole"] * len(files)
    for depth in (0, 1):  # a split has classes, or each class has a split
        split = _split_folders({n[depth] for n in names if len(n) > depth + 1}, folder)
        if split:
            rows = [r for r, n in enumerate(names) if len(n) > depth + 1 and n[depth] in split]
            files, parts = [files[r] for r in rows], [split[names[r][depth]] for r in rows]
            names = _without_wrapper([names[r][:depth] + names[r][depth + 1 :] for r in rows])
            break
    placed = []
    for part in dict.fromkeys(parts):
        members = [r for r in range(len(files)) if parts[r] == part]
        inside = [r for r in members if len(names[r]) > 1]
        if 2 * len(inside) > len(members):
            placed += [Placed(files[r], part, names[r][0]) for r in inside]
        else:
            placed += [Placed(files[r], part) for r in members]
        if 0 < 2 * len(inside) <= len(members):
            notice(f"dataset: {folder}: no labels, since most pictures lie beside its folders")
    return placed


def _without_wrapper(names: list[Names]) -> list[Names]:
    """Return names without the outer folders that hold all the others."""
    while len({n[0] for n in names if len(n) > 1}) == 1 and any(len(n) > 2 for n in names):
        names = [n[1:] if len(n) > 1 else n for n in names]
    return names


def _split_folders(folders: set[str], where: Path) -> dict[str, str]:
    """Return the part that each folder of a split is, or nothing if they are no split."""
    matches = {folder: SPLIT.fullmatch(folder) for folder in sorted(folders)}
    split = {folder: PARTS[match[1].lower()] for folder, match in matches.items() if match}
    parts = set(split.values())
    if len(split) > 1 and (len(parts) < len(split) or "train" not in parts):
        raise ValueError(
            f"dataset: the folders {', '.join(split)} in {where} look like parts of a split;"
            " expected one of each of train, test and val"
        )
    return split if len(split) > 1 else {}


# --- pictures ------------------------------------------------------------------------------------


def _declared(file: Path, form: Form) -> tuple[int, int]:
    """Return the frames of a picture and its bytes as float32, over all channels, by its headers."""
    check_regular(file)
    with reading(file, NOT_A_PICTURE), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
        with Image.open(file) as picture:
            size, count = form.image_size, _frames(picture)
            area = size**2 if size else picture.width * picture.height
            pixels = area * (form.channels or len(picture.getbands()))
            return count, pixels * count * BYTES_PER_PIXEL


def _frames(picture: Image.Image) -> int:
    return getattr(picture, "n_frames", 1) if picture.format in FRAMES else 1


def _read(files: list[Path], form: Form) -> np.ndarray:
    """Return all pictures of the files (N, C, H, W)."""
    pictures = list(_pictures(files, form))
    modes = {picture.mode for picture in pictures}
    mode = "1" if modes == {"1"} else "L" if modes <= {"1", "L"} else "RGB"
    return _channels_first(np.stack([np.asarray(picture.convert(mode)) for picture in pictures]))


def packed(files: list[Path], form: Form, count: int) -> np.ndarray:
    """Return pictures (N, C, H, W), mapped from a file of the user's cache folder.

    They are decoded into it once; it is made again where files have changed.

    Args:
        form: what they are made into, with its channels.
        count: how many they are, over all frames of all files.

    Raises:
        ValueError: pictures that are damaged or of different sizes, or no cache folder.
        OSError: the file cannot be written.
    """
    about = [(f"{file}", file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    path = cache_file("pictures", digest("packed", form, about))
    if path is None:
        raise ValueError("dataset: expected a home folder, whose .cache takes decoded pictures")
    path = path.with_suffix(".npy")
    if not exists(path):
        notice(f"dataset: {count:,} pictures are decoded once, into {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _pack(files, form, count, path)
    return _channels_first(np.load(path, mmap_mode="r"))


def _pack(files: list[Path], form: Form, count: int, path: Path) -> None:
    with replacing(path) as file:
        for n, picture in enumerate(_pictures(files, form)):
            pixels = np.asarray(picture)
            if n == 0:
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *pixels.shape)}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(pixels.tobytes())


def _channels_first(images: np.ndarray) -> np.ndarray:
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def _pictures(files: list[Path], form: Form) -> Iterator[Image.Image]:
    """Yield the pictures of the files, which must be of one size."""
    size = None
    for file in files:
        for frame in _open(file):
            picture = _converted(frame, form)
            size = size or picture.size
            if picture.size != size:
                raise ValueError(
                    f"dataset: expected pictures of one size, got {_size(size)} in {files[0].name}"
                    f" and {_size(picture.size)} in {file.name}; train --image-size makes squares"
                    " of one size of them"
                )
            yield picture


def _converted(picture: Image.Image, form: Form) -> Image.Image:
    size, channels, crop = form
    if channels:
        picture = picture.convert(MODES[channels])
    if size:
        picture = picture.convert("L") if picture.mode == "1" else picture
        side = min(*picture.size, crop or math.inf)
        left, top = ((length - side) // 2 for length in picture.size)
        square = picture.crop((left, top, left + side, top + side))
        picture = square.resize((size, size), Image.Resampling.LANCZOS)
    return picture


def _size(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def _open(file: Path) -> list[Image.Image]:
    """Return the frames of a file, upright, in mode 1, L or RGB."""
    with reading(file, NOT_A_PICTURE), Image.open(file) as picture:
        deep = any(map(_is_cut, picture.tile))
        palette = picture.format == "GIF" or picture.mode in ("P", "PA")
        mode, frames = picture.mode, []
        for _, frame in zip(range(_frames(picture)), ImageSequence.Iterator(picture)):
            frame.load()
            frames.append(ImageOps.exif_transpose(frame))
    if mode not in PLAIN_MODES:
        raise ValueError(f"dataset: expected 8-bit pictures, got mode {mode} in {file}")
    if deep:
        raise ValueError(
            f"dataset: expected 8-bit pictures, got 16 bits in {file}; an .npy array with --levels"
            " keeps them"
        )
    if any(f.has_transparency_data and _least_alpha(f) < 255 for f in frames):
        raise ValueError(f"dataset: expected pictures without transparency, got some in {file}")
    return [_plain(frame, palette) for frame in frames]


def _is_cut(tile: Any) -> bool:
    """Return whether Pillow reads the channels of a part of a picture, of 16 bits, as 8."""
    maximum = tile.args[1] if tile.codec_name in ("ppm", "ppm_plain") else 0
    return ";16" in str(tile) or (isinstance(maximum, int) and maximum > 255)


def _least_alpha(picture: Image.Image) -> int:
    return int(np.asarray(picture.convert("RGBA").getchannel("A")).min())


def _plain(picture: Image.Image, palette: bool) -> Image.Image:
    """Return an opaque picture in mode 1, L or RGB; grey ones have one channel."""
    if picture.mode in ("1", "L"):
        return picture
    if picture.mode == "LA":
        return picture.getchannel("L")
    picture = picture.convert("RGB")
    if not palette:
        return picture
    red, green, blue = picture.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else picture
