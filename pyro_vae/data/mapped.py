"""Images that stay in their file, of which only those that are asked for are read."""

import math
import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pyro_vae.devices import sent

AHEAD = 2  # batches that are read while one is computed with
LOOKED_AT = 2**24  # numbers of images in a file that stand for all of them
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


class MappedImages(Tensor):
    """Images (N, C, H, W) in [0, 1] that stay in a file.

    They have the shape, the type and the device of the tensor that they stand for. An index, as in
    `images[rows]`, `index_select` and `split` read images and return them as usual tensors. `subset`
    reads nothing. Every other operation would need all images in memory, and is an error.

    Args:
        array: (N, C, H, W) of any numbers, as `np.load(path, mmap_mode="r")` maps a file.
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
        array: np.ndarray,
        pixels: Callable[[np.ndarray], Tensor],
        rows: np.ndarray,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        self.array, self.pixels, self.rows = array, pixels, rows

    @classmethod
    def of(cls, array: np.memmap, pixels: Callable[[np.ndarray], Tensor]) -> "MappedImages":
        """Return all images of a mapped array, whose file is read at random from then on."""
        if hasattr(mmap, "MADV_RANDOM"):  # else each image is read with many that follow it
            array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
        return cls(np.asarray(array), pixels, np.arange(len(array)))

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):  # type: ignore[override]
        raise NotImplementedError(f"images in a file are read in parts, and {function} takes all")

    def __repr__(self, *, tensor_contents=None) -> str:  # type: ignore[override]
        return f"MappedImages({tuple(self.shape)})"

    def __getitem__(self, index) -> Tensor:
        rows = self.rows[index.cpu().numpy() if isinstance(index, Tensor) else index]
        images = self.pixels(self.array[np.atleast_1d(rows)]).to(self.dtype)
        return sent(images if rows.ndim else images[0], self.device)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the images of some rows, in a layout that does not depend on the file's.

        Raises:
            OSError: pixels that are not as those that were looked at.
        """
        try:
            return self[index].contiguous()
        except ValueError as error:
            raise OSError(f"{error}; it was read while training") from error

    def split(self, split_size, dim: int = 0) -> Iterator[Tensor]:  # type: ignore[override]
        """Yield the images in their order, in batches that are read ahead."""
        starts = range(0, len(self), split_size)
        return ahead(lambda start: self[start : start + split_size], starts)

    def subset(self, rows: slice | Tensor) -> "MappedImages":
        """Return some of the images, which stay in the file as well."""
        chosen = self.rows[rows.numpy() if isinstance(rows, Tensor) else rows]
        return MappedImages(self.array, self.pixels, chosen, self.dtype, self.device)

    def to(self, device, dtype) -> "MappedImages":  # type: ignore[override]
        """Return the same images, which will be read to a device, in a type."""
        return MappedImages(self.array, self.pixels, self.rows, dtype, device)


def looked_at(images: Tensor) -> Tensor:
    """Return all images; of images in a file those, evenly spread, that stand for all of them."""
    if not isinstance(images, MappedImages):
        return images
    return images[:: math.ceil(images.numel() / LOOKED_AT)]
