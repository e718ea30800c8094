"""Whether numbers are finite, with a single wait for the device."""

import torch
from torch import Tensor

SMALL = 2**16  # numbers: smaller tensors are looked at together, since each look costs a call


def all_finite(tensors: list[Tensor]) -> bool:
    """Return whether all numbers are finite; sums in double precision are, if their terms are."""
    small = [tensor.flatten() for tensor in tensors if tensor.numel() < SMALL]
    looked_at = [tensor for tensor in tensors if tensor.numel() >= SMALL]
    if small:
        looked_at.append(torch.cat(small))
    sums = [tensor.sum(dtype=torch.float64) for tensor in looked_at]
    return bool(torch.isfinite(torch.stack(sums)).all()) if sums else True
