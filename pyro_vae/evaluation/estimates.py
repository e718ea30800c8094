"""Estimates with standard errors, and the thresholds by which measures are judged."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

COLLAPSED_RATE = 0.01  # nats: a component with a lower mean rate has collapsed
ACTIVE_VARIANCE = 0.01  # a component is active where Var_x(E_q[z]) is higher (Burda et al., 2015)
UNRELIABLE_K_HAT = 0.7  # weights with a larger k-hat are unreliable (Vehtari et al., 2015)
MIXED_R_HAT = 1.05  # chains with a larger R-hat have not mixed
FEW_CHAINS = 3  # annealed weights of a smaller effective number are likely to miss mass
SPREAD_NATS = 1.0  # annealed log weights of a larger deviation bias the log of their mean
LEFT_BITS = 0.005  # per dimension: an ELBO with more left to gain has not converged
NEGLIGIBLE_BITS = 0.0005  # per dimension: a smaller difference can be ignored in a comparison
OVERFIT_BITS = 0.02  # per dimension: a larger gap between training and test ELBO deserves a look
MISCALIBRATED = (0.02, 0.1)  # shares of pixels off nominal: more deserves a look, more is wrong
MISSED_NATS = 0.5  # an importance bound that misses more gets a warning
UNIDENTIFIED_ROOM = 0.5  # nats: mutual information this close to log N is only a lower bound
ALIKE_SHARE = 0.5  # of what images have in common: reconstructions that explain less are alike
STRANGE_SAMPLES = 0.025  # squared MMD: samples that differ more are unlike the reconstructions
BORDER = 0.2  # relative: shares this close to their border may be beyond it for another seed


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
