"""The decoder's distribution of pixels: whether it is calibrated, and sigma refitted after training.

If a pixel x has the distribution function F, then F(x) is uniform; for grey levels it is uniform if
it is drawn between P(X < x) and P(X <= x). Too many values near 0 and 1 mean that the decoder is
too sure, too many near one half that it is not sure enough, and one-sided ones a bias.

Source: Dawid, "Statistical theory: the prequential approach", 1984; Czado, Gneiting and Held,
"Predictive model assessment for count data", 2009, for the draw between both.
"""

import copy
from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.likelihoods.gaussians import GaussianOptimalSigma
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import VAE, LatentImageModel
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
def pixel_calibration(
    model: LatentImageModel, images: Tensor, z: Tensor, seed: int = 0
) -> PixelCalibration:
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


@torch.no_grad()
def refit_sigma(vae: VAE, images: Tensor, seed: int = 0, score: str | None = None) -> VAE:
    """Return a copy of a VAE whose Normal has the sigma that suits its networks best.

    This sigma maximises the mean of log p(x | z), z ~ q(z|x), over the images, and with it the ELBO.
    Nothing else changes. For the density it is the root mean squared error of the pixels. With a
    fixed sigma, only beta * sigma^2 matters for what a run learns. The likelihoods of such runs
    still differ as long as each run keeps the sigma that it was given.

    Args:
        vae: a VAE in `eval` mode, with one sigma for all pixels (`gaussian_fixed_sigma`,
            `gaussian_shared_sigma` or `gaussian_optimal_sigma`).
        images: (N, C, H, W), the training set.
        seed: the seed of the draws of z.
        score: `levels` or `density`, the measure that sigma maximises and that the copy scores by
            (default: the VAE's own). Bits per dimension are measured by `levels`.

    Raises:
        ValueError: if the family is of another kind, or the score is unknown.

    Source: Rybkin, Daniilidis and Levine, "Simple and effective VAE training with calibrated
    decoders", 2020, https://arxiv.org/abs/2006.13202.
    """
    family = vae.likelihood
    if family.one_sigma is None:
        raise ValueError(f"vae: expected a Normal with one sigma, got {type(family).__name__}")
    copied = copy.deepcopy(vae)
    refitted = GaussianOptimalSigma(vae.image_shape, family.levels, score or family.score)
    copied.likelihood = refitted.to(images.device, images.dtype).eval()
    with seeded(seed, images.device):
        refitted.calibrate((x, vae.outputs(vae.encode(x).sample())) for x in chunks(images))
    return copied
