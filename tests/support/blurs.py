"""Images blurred by a known transfer function."""

import math

import torch


def blurred(images, width):
    """Circular convolution with a Gaussian of this width in pixels, and its transfer function."""
    y, x = (torch.fft.fftfreq(n, dtype=torch.float64) for n in images.shape[2:])
    transfer = torch.exp(-2 * (math.pi * width) ** 2 * (y[:, None] ** 2 + x**2))
    return torch.fft.ifft2(torch.fft.fft2(images.double()) * transfer).real, transfer
