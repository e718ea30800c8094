"""Images that stay in their file or data set, of which only those that are asked for are read."""

import math
import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyro_vae.devices import sent
from pyro_vae.own_parts import reason_of
from pyro_vae.randomness import seeded

AHEAD = 2  # batches that are read while one is computed with
PAGES_OF = 64  # images whose pages of a file, up to 2 MB each, are in memory at once
LOOKED_AT = 2**24  # numbers of images in a file that stand for all of them
OF_PROCESSES = ("num_workers", "timeout", "worker_init_fn", "multiprocessing_context")
Given = TypeVar("Given")
Result = TypeVar("Result")


def ahead(function: Callable[[Given], Result], each: Iterable[Given]) -> Iterator[Result]:
    """Yield what the function returns for each; a thread calls it while the caller computes."""
    waiting: deque = deque()
    with ThreadPoolExecutor(1) as thread:
        for given in each:
            waiting.append(thread.submit(function, given))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def channels_first(images: np.ndarray, where: str) -> np.ndarray:
    """Return images (N, H, W), (N, C, H, W) or (N, H, W, C) as (N, C, H, W); items are so.

    Raises:
        ValueError: an array of another shape, or an empty one.
    """
    if isinstance(images, Items):
        return images
    if images.size == 0:
        raise ValueError(f"dataset: {where} holds no pixels: images of shape {images.shape}")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4:
        for counts in ((1, 3), (1, 2, 3, 4)):  # first grey and colour, which are more common
            if images.shape[1] in counts:
                return images
            if images.shape[3] in counts:
                return images.transpose(0, 3, 1, 2)
    raise ValueError(
        f"dataset: expected images (N, H, W), (N, C, H, W) or (N, H, W, C) with up to 4 channels"
        f" in {where}, got an array of shape {images.shape}"
    )


class Items:
    """The images of a data set of torch, of which `items[rows]` reads some, as (n, C, H, W).

    An item is an image, or begins with one: a tensor, an array or a picture of Pillow. What it draws
    by torch depends on the rows that are read together, and takes no random numbers of the caller.

    Args:
        source: a data set with a length and numbered items; or a loader of one, whose processes
            read ahead. The loader's order, batches and collate function are not used.

    Raises:
        ValueError: a data set that is read as a stream.
        OSError: an item that cannot be read.
    """

    def __init__(self, source):
        self.dataset, self.processes = source, {}
        if isinstance(source, DataLoader):
            self.dataset = source.dataset
            self.processes = {name: getattr(source, name) for name in OF_PROCESSES}
        try:
            count = len(self.dataset)
        except TypeError as error:
            expected = "expected a data set with a length and numbered items"
            raise ValueError(f"images: {expected}, got {type(self.dataset).__name__}") from error
        first = self[np.arange(1)]
        self.shape, self.dtype = (count, *first.shape[1:]), first.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        with seeded(_seed_of(rows)):
            images = np.stack([self._image(row) for row in rows.tolist()])
        return channels_first(images, "images")

    def _image(self, row: int) -> np.ndarray:
        try:
            item = self.dataset[row]
            return np.asarray(item[0] if isinstance(item, (tuple, list)) else item)
        except Exception as error:  # whatever the user's data set raises
            raise OSError(f"images: item {row} cannot be read: {reason_of(error)}") from error

    def batches(self, each: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield what `items[rows]` is for each; the loader's processes read them ahead."""
        loader = DataLoader(
            _Batches(self, each),
            batch_size=None,
            **self.processes,
            collate_fn=_as_it_is,
            generator=torch.Generator().manual_seed(_seed_of(each[0])),
        )
        for batch in loader:
            if isinstance(batch, OSError):
                raise batch
            yield batch


def _seed_of(rows: np.ndarray) -> int:
    return int(np.arange(1, len(rows) + 1) @ rows)


class _Batches(Dataset):
    """Batches as the items of a data set; an error is an item too, and keeps its message so."""

    def __init__(self, items: Items, each: Sequence[np.ndarray]):
        self.items, self.each = items, each

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, n: int) -> np.ndarray | OSError:
        try:
            return self.items[self.each[n]]
        except (OSError, ValueError) as error:
            return OSError(f"{error}")


def _as_it_is(batch):
    return batch


class MappedImages(Tensor):
    """Images (N, C, H, W) in [0, 1] that stay in a file or a data set.

    They have the shape, the type and the device of the tensor that they stand for. An index, as in
    `images[rows]`, `index_select` and `split` read images and return them as usual tensors. `subset`
    reads nothing. Every other operation would need all images in memory, and is an error.

    Args:
        array: (N, C, H, W) of any numbers, as `np.load(path, mmap_mode="r")` maps a file, or items.
        pixels: returns the pixels in [0, 1] of a part of the array, as float32.
        rows: the images' places in the array.
        dtype, device: the type that images have once they are read, and where they go.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, array, pixels, rows, dtype=torch.float32, device="cpu"):
        shape = (len(rows), *array.shape[1:])
        return Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=device)

    def __init__(
        self,
        array: np.memmap | Items,
        pixels: Callable[[np.ndarray], Tensor],
        rows: np.ndarray,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        self.array, self.pixels, self.rows = array, pixels, rows

    @classmethod
    def of(cls, array: np.memmap | Items, pixels: Callable[[np.ndarray], Tensor]) -> "MappedImages":
        """Return all images; the file of a mapped array is read at random from then on."""
        if isinstance(array, Items):
            return cls(array, pixels, np.arange(array.shape[0]))
        if hasattr(mmap, "MADV_RANDOM"):  # else each image is read with many that follow it
            array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
        return cls(array, pixels, np.arange(len(array)))

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):  # type: ignore[override]
        raise NotImplementedError(f"images in a file are read in parts, and {function} takes all")

    def __repr__(self, *, tensor_contents=None) -> str:  # type: ignore[override]
        return f"MappedImages({tuple(self.shape)})"

    def __getitem__(self, index) -> Tensor:
        rows = self._places(index)
        images = self._images(self._part(np.atleast_1d(rows)))
        return images if rows.ndim else images[0]

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the images of some rows, in a layout that does not depend on the file's.

        Raises:
            OSError: pixels that are not as those that were looked at.
        """
        return self._read_later(index).contiguous()

    def batches(self, each: Iterable[slice | Tensor]) -> Iterator[Tensor]:
        """Yield the images of each index, which are read ahead."""
        if isinstance(self.array, Items):
            return map(self._checked, self.array.batches([self._places(i) for i in each]))
        return ahead(self._read_later, each)

    def split(self, split_size, dim: int = 0) -> Iterator[Tensor]:  # type: ignore[override]
        """Yield the images in their order, in batches that are read ahead."""
        starts = range(0, len(self), split_size)
        return self.batches(slice(start, start + split_size) for start in starts)

    def _places(self, index) -> np.ndarray:
        return self.rows[index.cpu().numpy() if isinstance(index, Tensor) else index]

    def _images(self, part: np.ndarray) -> Tensor:
        return sent(self.pixels(part).to(self.dtype), self.device)

    def _read_later(self, index) -> Tensor:
        return self._checked(self._part(self._places(index)))

    def _part(self, rows: np.ndarray) -> np.ndarray:
        """Return a copy of a part of the array, whose file takes no memory afterwards."""
        if isinstance(self.array, Items):
            return self.array[rows]
        shape = len(rows), *self.array.shape[1:]
        part = np.empty_like(self.array, shape=shape, subok=False)  # channels may be the last
        for at in range(0, len(rows), PAGES_OF):
            part[at : at + PAGES_OF] = self.array[rows[at : at + PAGES_OF]]
            if hasattr(mmap, "MADV_DONTNEED"):  # pages that were read count as memory until then
                self.array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
        return part

    def _checked(self, part: np.ndarray) -> Tensor:
        try:
            return self._images(part)
        except ValueError as error:
            raise OSError(f"{error}; it was read while training") from error

    def subset(self, rows: slice | Tensor) -> "MappedImages":
        """Return some of the images, which stay in the file as well."""
        chosen = self.rows[rows.numpy() if isinstance(rows, Tensor) else rows]
        return MappedImages(self.array, self.pixels, chosen, self.dtype, self.device)

    def to(self, device, dtype) -> "MappedImages":  # type: ignore[override]
        """Return the same images, which will be read to a device, in a type."""
        return MappedImages(self.array, self.pixels, self.rows, dtype, device)


def spacing(images: Tensor) -> int:
    """Return n where every n-th image stands for all of them: 1, unless images stay in a file."""
    return math.ceil(images.numel() / LOOKED_AT) if isinstance(images, MappedImages) else 1


def looked_at(images: Tensor) -> Tensor:
    """Return all images; of images in a file those, evenly spread, that stand for all of them."""
    return images[:: spacing(images)]
