"""Predictive checks: whether images like those of the data would come from the model.

A measure of a set of images is computed for the data and for many sets of the same size that the model
draws. Where the data's value lies among those of the drawn sets is its tail probability. Single
pixels are placed in the distributions that the decoder gives for them.

Source: Gelman, Meng and Stern, "Posterior predictive assessment of model fitness via realized
discrepancies", 1996.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

AT_ONCE = 2**24  # numbers of images, or of distances, since each product copies all known images
FLAT = 1e-12  # a smaller sum of squares is that of an image without contrast

Measure = Callable[[Tensor], Tensor]  # of images (N, C, H, W), a value for each (N,)


class PredictiveCheck(NamedTuple):
    """A measure of the data and of the sets that a model drew, means over a set's images."""

    data: float
    model: float  # the mean of the drawn sets
    lower: float  # of the sets, 2.5% are below it
    upper: float  # and 2.5% above
    tail_probability: float  # two-sided


def predictive_check(data: Tensor, drawn: Tensor) -> PredictiveCheck:
    """Return where the mean of the data's values lies among the means of drawn sets.

    `p = 2 (1 + min(sets at most as high, sets at least as high)) / (1 + sets)`, at most 1

    If the data come from the model, p is at most a with a probability of at most a, for every a.

    Args:
        data: values (n,) of the data's images.
        drawn: values (R, n) of R drawn sets of n images.
    """
    value, values = data.double().mean(), drawn.double().mean(1)
    fewer = min((values <= value).sum().item(), (values >= value).sum().item())
    probability = min(1.0, 2 * (1 + fewer) / (1 + len(values)))
    lower, upper = values.quantile(values.new_tensor([0.025, 0.975])).tolist()
    return PredictiveCheck(value.item(), values.mean().item(), lower, upper, probability)


def brightness(images: Tensor) -> Tensor:
    """Return the mean grey value of each image, (N,)."""
    return images.flatten(1).mean(1)


def contrast(images: Tensor) -> Tensor:
    """Return the variance of the pixels of each image, (N,)."""
    return images.flatten(1).var(1, correction=0)


def sparsity(images: Tensor, levels: int) -> Tensor:
    """Return the share of pixels at the lowest grey level in each image, (N,)."""
    return (images < 0.5 / (levels - 1)).to(images.dtype).flatten(1).mean(1)


def neighbour_correlation(images: Tensor) -> Tensor:
    """Return the correlation of pixels with those to their right and below, in each image, (N,).

    `sum a b / sqrt(sum a^2 sum b^2)` over all pairs of neighbours a, b, less the mean of their image
    and channel. It is 0 in an image without contrast.
    """
    centred = images - images.mean((2, 3), keepdim=True)
    firsts = torch.cat([centred[..., :-1].flatten(1), centred[..., :-1, :].flatten(1)], 1)
    seconds = torch.cat([centred[..., 1:].flatten(1), centred[..., 1:, :].flatten(1)], 1)
    scale = (firsts.square().sum(1) * seconds.square().sum(1)).sqrt()
    return torch.where(scale > FLAT, (firsts * seconds).sum(1) / scale.clamp_min(FLAT), 0)


def nearest(images: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of each image to the nearest of some known ones, and its number, (N,) each.

    Drawn images that are nearer to training images than test images are may have been memorised, or
    vary less than images do.

    Args:
        images, known: (N, C, H, W) and (M, C, H, W).

    Source: Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying in
    generative models", 2020, https://arxiv.org/abs/2004.05675.
    """
    parts = images.split(max(1, AT_ONCE // max(images[0].numel(), len(known))))
    rows = [torch.cdist(part.flatten(1), known.flatten(1)).min(1) for part in parts]
    return torch.cat([each.values for each in rows]), torch.cat([each.indices for each in rows])


# --- pixels ---------------------------------------------------------------------------------------


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

    If a pixel x has the distribution function F, then F(x) is uniform; for grey levels it is uniform
    if it is drawn between P(X < x) and P(X <= x). Too many values near 0 and 1 mean that the decoder
    is too sure, too many near one half that it is not sure enough, and one-sided ones a bias.

    Args:
        model: a model in `eval` mode whose family gives grey levels a probability.
        images: (N, C, H, W), on the grid of grey levels.
        z: codes (N, latent_dim): draws of q(z | x) for reconstructions, or the codes that images
            were drawn from.
        seed: the seed of the draws between P(X < x) and P(X <= x).

    Raises:
        ValueError: if the family is not a likelihood of such data.

    Source: Dawid, "Statistical theory: the prequential approach", 1984; Czado, Gneiting and Held,
    "Predictive model assessment for count data", 2009, for the draw between both.
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
