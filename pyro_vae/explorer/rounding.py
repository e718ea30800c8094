"""What it changes that the page's weights are rounded to 16 bits."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.models.vae import LatentImageModel

PIXELS_AT_ONCE = 2**12  # means over grey levels take much memory for each pixel


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
