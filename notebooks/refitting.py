"""Sigma refitted after training."""

import copy

import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.likelihoods.gaussians import GaussianOptimalSigma
from pyro_vae.models.elbo import chunks
from pyro_vae.randomness import seeded


@torch.no_grad()
def refit_sigma(vae: pv.VAE, images: Tensor, seed: int = 0, score: str | None = None) -> pv.VAE:
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
