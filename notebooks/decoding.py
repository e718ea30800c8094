"""Images that a model decodes from codes of different kinds."""

import torch
from torch import Tensor

from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

MOST_FITTED = 5000  # training images to whose codes the Normal is fitted
LEAST_VARIANCE = 1e-6  # added to it, so that a component that never varies has a root


@torch.no_grad()
def decoded_sets(
    model: VAE, images: Tensor, training_images: Tensor, seed: int = 0
) -> dict[str, Tensor]:
    """Return the expected images of four kinds of codes, (N, C, H, W) each, by name.

    - `mean`: reconstructions through the mean of q(z|x).
    - `drawn`: reconstructions through one draw of z.
    - `prior`: images of random codes of N(0, I).
    - `fitted`: images of random codes of a Normal that is fitted to the codes of training images.

    A Normal that is fitted to the codes is the simplest way to make a plain autoencoder generate
    images: its codes were never pulled towards the prior.

    Args:
        model: a VAE or an autoencoder in `eval` mode.
        images: (N, C, H, W), the images that are reconstructed.
        training_images: (M, C, H, W); the Normal is fitted to draws of z of the first 5,000.
        seed: the seed of all draws.
    """
    with seeded(seed, images.device):
        noise = model.prior.sample((len(images),))
        q = model.encode(images)
        known = model.encode(training_images[:MOST_FITTED]).sample()
        codes = {
            "mean": q.mean,
            "drawn": q.sample(),
            "prior": noise,
            "fitted": known.mean(0) + noise @ _root_of_covariance(known).T,
        }
    return {name: model.decode(z).mean.clamp(0, 1) for name, z in codes.items()}


def _root_of_covariance(codes: Tensor) -> Tensor:
    covariance = codes.T.cov().view(codes.shape[1], -1)  # a single component has a number
    identity = torch.eye(codes.shape[1], dtype=codes.dtype, device=codes.device)
    return torch.linalg.cholesky(covariance + LEAST_VARIANCE * identity)
