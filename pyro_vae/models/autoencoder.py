"""The deterministic autoencoder: a baseline with the same networks as the VAE."""

from contextlib import AbstractContextManager

import pyro.distributions as dist
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.models.networks import batched
from pyro_vae.models.vae import LatentImageModel


class Autoencoder(LatentImageModel):
    """A deterministic autoencoder, whose posterior is a point and whose loss has no KL.

    The loss is minus the log likelihood alone. As Pyro programs, the guide gives z as a `Delta`,
    and the latent site is masked in both. Training does not make the codes follow the prior, so the
    images from `sample` show the problem that the VAE solves.

    Args:
        image_shape, latent_dim, likelihood, network, hidden, activation, levels, score, sigma: as
            for `VAE`.

    Raises:
        ValueError: if a name is unknown, a size is not positive, or the family takes no sigma.
    """

    outputs_per_latent = 1
    has_rate = False

    def encode(self, x: Tensor) -> TorchDistribution:
        return dist.Delta(batched(self.encoder, x, 3)).to_event(1)

    def on_latent(self, beta: float | Tensor) -> AbstractContextManager:
        return poutine.mask(mask=False)
