"""Arrays as text for a page, and models whose weights are rounded to 16 bits."""

import base64
import copy
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor, nn

LARGEST = torch.finfo(torch.float16).max  # 65,504

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
