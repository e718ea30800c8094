"""An estimate: a mean over images with its standard error."""

import math
from typing import NamedTuple

from torch import Tensor


class Estimate(NamedTuple):
    """A mean over images with its standard error, which is NaN for a single image."""

    mean: float
    standard_error: float


def estimate(values: Tensor) -> Estimate:
    """Return the mean of independent values (N,) with its standard error."""
    values = values.double()
    spread = values.std().item() if len(values) > 1 else math.nan
    return Estimate(values.mean().item(), spread / math.sqrt(len(values)))
