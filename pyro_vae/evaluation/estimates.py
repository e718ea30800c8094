"""An estimate: a mean over images with its standard error."""

import math
from typing import NamedTuple

from torch import Tensor


class Estimate(NamedTuple):
    """A mean over images, with its standard error (NaN for a single image)."""

    mean: float
    standard_error: float


def estimate(values: Tensor) -> Estimate:
    """The mean of independent values (N,), and how far it may be from the expectation."""
    values = values.double()
    spread = values.std().item() if len(values) > 1 else math.nan
    return Estimate(values.mean().item(), spread / math.sqrt(len(values)))
