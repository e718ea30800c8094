"""The decoder's distribution of pixels, and whether it is calibrated.

If a pixel x has the distribution function F, then F(x) is uniform; for grey levels it is uniform if
it is drawn between P(X < x) and P(X <= x). Too many values near 0 and 1 mean that the decoder is
too sure, too many near one half that it is not sure enough, and one-sided ones a bias.

Source: Dawid, "Statistical theory: the prequential approach", 1984; Czado, Gneiting and Held,
"Predictive model assessment for count data", 2009, for the draw between both.
"""

from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

COVERAGES = (0.5, 0.9)


class PixelCalibration(NamedTuple):
    """The transforms of all pixels, and the share of pixels inside central intervals."""

    transforms: Tensor  # (N, C, H, W), uniform if the decoder is calibrated
    coverage: dict[float, Estimate]  # by level, over images

    def shares(self, num_bins: int = 20) -> Tensor:
        """Return the share of each image's pixels in each of equal bins, (N, num_bins)."""
        bins = (self.transforms.flatten(1) * num_bins).long().clamp_max(num_bins - 1)
        return torch.stack([(bins == n).double().mean(1) for n in range(num_bins)], 1)


@torch.no_grad()
def pixel_calibration(model: VAE, images: Tensor, z: Tensor, seed: int = 0) -> PixelCalibration:
    """Transform each pixel by its distribution given a code.

    Args:
        model: a model in `eval` mode whose family gives grey levels a probability.
        images: (N, C, H, W), on the grid of grey levels.
        z: codes (N, latent_dim): draws of q(z | x) for reconstructions, or the codes that images
            were drawn from.
        seed: the seed of the draws between P(X < x) and P(X <= x).

    Raises:
        ValueError: if the family is not a likelihood of such data.
    """
    x = model.decode_levels(z)
    below = torch.zeros_like(images, dtype=torch.float64)
    step = 1 / (model.likelihood.levels - 1)
    for level in range(model.likelihood.levels):
        value = torch.full_like(images, level * step)
        mass = _log_prob_of_pixels(x, value).double().exp()
        below += torch.where(value < images - step / 2, mass, 0)
    own = _log_prob_of_pixels(x, images).double().exp()
    with seeded(seed, images.device):
        transforms = below + torch.rand_like(below) * own
    inside = (transforms - 0.5).abs()
    coverage = {c: estimate((inside < c / 2).double().flatten(1).mean(1)) for c in COVERAGES}
    return PixelCalibration(transforms, coverage)


def _log_prob_of_pixels(x: TorchDistribution, value: Tensor) -> Tensor:
    """Return the log probability of each pixel on its own, whatever the other ones are."""
    if isinstance(x, torch.distributions.Independent):
        return x.base_dist.log_prob(value)
    return x.log_prob_of_pixels(value)
