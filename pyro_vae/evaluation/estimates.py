"""Estimates with standard errors: means over images."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Estimate(NamedTuple):
    """A mean over images with its standard error, which is NaN for a single image."""

    mean: float
    standard_error: float


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of independent rows (N, ...) and its standard error, NaN for a single row."""
    spread = values.std(0) if len(values) > 1 else torch.full_like(values[0], math.nan)
    return values.mean(0), spread / math.sqrt(len(values))


def estimate(values: Tensor) -> Estimate:
    """Return the mean of independent values (N,) with its standard error."""
    mean, error = mean_and_error(values.double())
    return Estimate(mean.item(), error.item())
