"""Arrays as text for a page, models whose weights are rounded to 16 bits, and what that changes."""

import base64
import copy
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor, nn

from pyro_vae.models.vae import LatentImageModel

LARGEST = torch.finfo(torch.float16).max  # 65,504
PIXELS_AT_ONCE = 2**12  # means over grey levels take much memory for each pixel

Module = TypeVar("Module", bound=nn.Module)


def float16_text(values: Tensor, name: str = "numbers") -> str:
    """Return numbers as base64 of little-endian float16, row by row.

    Raises:
        ValueError: if a number is not finite, or too large for float16; it opens with `name`.
    """
    _check_size(values, name)
    return _text(values.detach().cpu().numpy(), "<f2")


def byte_text(values: Tensor) -> str:
    """Return whole numbers from 0 to 255 as base64, row by row."""
    return _text(values.cpu().numpy(), np.uint8)


def _text(values: np.ndarray, kind: DTypeLike) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _check_size(values: Tensor, name: str) -> None:
    if not (values.abs() <= LARGEST).all():
        worst = values.abs().max().item()
        raise ValueError(f"{name}: expected numbers up to {LARGEST:g} for float16, got {worst:g}")


@torch.no_grad()
def rounded(model: Module) -> Module:
    """Return a copy of a model with every parameter and buffer rounded to float16.

    The copy computes in the model's own type.

    Raises:
        ValueError: if a weight is not finite, or too large for float16.
    """
    model = copy.deepcopy(model)
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        _check_size(values, name)
        values.copy_(values.to(torch.float16))
    return model


class Change(NamedTuple):
    """The change of expected images and of posterior means, over images."""

    largest_pixel: float  # where white is 1
    root_mean_square: float  # of pixels
    largest_code: float  # in units of the code


@torch.no_grad()
def change_by_rounding(
    model: LatentImageModel, rounded: LatentImageModel, images: Tensor
) -> Change:
    """Return how far the images and codes of a model with rounded weights are from the model's.

    Expected images are those of posterior means.

    Args:
        model, rounded: models in `eval` mode, on the images' device and in their type.
        images: (N, C, H, W).
    """
    codes, pixels = [], []
    for x in images.split(max(1, PIXELS_AT_ONCE // images[0].numel())):
        z, other = model.encode(x).mean, rounded.encode(x).mean
        codes.append((z - other).abs().max())
        pixels.append(model.images(z) - rounded.images(other))
    differences = torch.cat(pixels)
    return Change(
        differences.abs().max().item(),
        differences.square().mean().sqrt().item(),
        torch.stack(codes).max().item(),
    )
