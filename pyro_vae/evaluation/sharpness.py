"""The sharpness of images: the power of their waves by frequency."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.models.elbo import chunks

_NO_POWER = 1e-20  # squared grey values; rounding leaves far less in a constant image


class RadialSpectrum(NamedTuple):
    """Squared grey values by frequency, in rings of whole cycles per shorter side."""

    frequencies: Tensor  # (R,), 1 ... R, the Nyquist frequency
    power: Tensor  # (R,), the mean over images, channels and the ring
    standard_error: Tensor  # (R,), of the power
    counts: Tensor  # (R,), the number of waves in each ring
    corners: float  # the variance of all waves beyond the last ring


def radial_power_spectrum(images: Tensor) -> RadialSpectrum:
    """Return the power of an image's waves by frequency: `|FFT|^2 / (H W)^2` without the mean.

    Parseval's equation holds: `(counts * power).sum() + corners` is the variance of the pixels
    around the mean of their image and channel. The spectrum of white noise is flat, at its
    variance / (H W).

    Args:
        images: (N, C, H, W), of at least 2x2 pixels.

    Raises:
        ValueError: if the images have another shape.
    """
    variances, counts = _ring_variances(images)
    power = [estimate(v) for v in (variances / counts).T[:-1]]
    value, error = torch.tensor(power, dtype=torch.float64, device=images.device).T
    frequencies = torch.arange(1, len(counts), device=images.device)
    return RadialSpectrum(frequencies, value, error, counts[:-1], variances[:, -1].mean().item())


def _ring_variances(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's variance by ring (N, R + 1), corners last, and the number of waves per ring."""
    if images.dim() != 4 or not len(images) or min(images.shape[2:]) < 2:
        raise ValueError(f"images: expected (N, C, H, W) from 2x2 up, got {tuple(images.shape)}")
    height, width = images.shape[2:]
    shorter = min(height, width)
    y, x = (torch.fft.fftfreq(n, 1 / shorter, dtype=torch.float64) for n in (height, width))
    radius = torch.hypot(y.unsqueeze(1), x).flatten()[1:].to(images.device)  # the mean comes first
    rings = one_hot(radius.round().clamp(1, shorter // 2 + 1).long() - 1, shorter // 2 + 1).double()
    waves = (torch.fft.fft2(x.double(), norm="forward").abs().square() for x in chunks(images))
    return torch.cat([w.mean(1).flatten(1)[:, 1:] @ rings for w in waves]), rings.sum(0)


def sharpness_ratio(images: Tensor, reference: Tensor) -> Estimate:
    """Return the power in the upper half of the frequencies, relative to a reference.

    The ratio is 1 for equal sharpness, smaller for blur and larger for noise. The upper half
    consists of the rings above half the Nyquist frequency. The standard error treats the two sets
    as independent.

    Args:
        images, reference: (N, C, H, W) and (M, C, H, W).

    Raises:
        ValueError: if the images differ in shape, or the reference has no power in these
            frequencies.
    """
    if images.shape[1:] != reference.shape[1:]:
        expected, got = tuple(reference.shape[1:]), tuple(images.shape[1:])
        raise ValueError(f"images: expected those of the reference, {expected}, got {got}")
    upper, upper_error = _upper_power(images)
    base, base_error = _upper_power(reference)
    if base < _NO_POWER:
        raise ValueError(f"reference: expected power in the upper frequencies, got {base:.2g}")
    return Estimate(upper / base, math.hypot(upper_error, upper / base * base_error) / base)


def _upper_power(images: Tensor) -> Estimate:
    variances, _ = _ring_variances(images)
    return estimate(variances[:, (variances.shape[1] - 1) // 2 : -1].sum(1))
