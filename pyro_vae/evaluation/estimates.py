"""Estimates with standard errors: means over images, and where a learning curve ends."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.evaluation.thresholds import CLIMBING_BITS

FEWEST = 5  # epochs of a last tenth, from which a slope is read


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


def moved_at_the_end(curve: Sequence[float]) -> Estimate | None:
    """Return by how much the last tenth of training moved a measure, or None for under 20 epochs.

    It is the rise of the straight line that fits the last tenth of the epochs (at least five) best.
    The standard error takes the epochs' deviations from that line as independent.

    Args:
        curve: the measure after each epoch.

    Example:
        >>> moved_at_the_end([float(n) for n in range(100)])
        Estimate(mean=9.0, standard_error=0.0)
    """
    if len(curve) < 4 * FEWEST:
        return None
    y = np.asarray(curve[-max(FEWEST, len(curve) // 10) :], dtype=float)
    x = np.arange(len(y)) - (len(y) - 1) / 2
    slope = (x @ y) / (x @ x)
    residuals = y - y.mean() - slope * x
    error = math.sqrt((residuals @ residuals) / (len(y) - 2) / (x @ x))
    length = len(y) - 1
    return Estimate(round(float(slope * length), 9), round(error * length, 9))


def direction(moved: Estimate, dimensions: int) -> int:
    """Return 1 for an ELBO that still rose, -1 for one that fell, and 0 for one that stood still.

    A movement counts if it is certain, more than two standard errors, and more than a comparison
    could ignore, 0.0005 bits per dimension.

    Args:
        moved: by how much the last tenth of training moved the ELBO, nats per image.
        dimensions: the number of pixels and channels of an image.
    """
    negligible = CLIMBING_BITS * dimensions * math.log(2)
    if abs(moved.mean) <= max(2 * moved.standard_error, negligible):
        return 0
    return 1 if moved.mean > 0 else -1
