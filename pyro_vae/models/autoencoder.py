"""The deterministic autoencoder: the baseline beside the VAE, with the same networks."""

import pyro.distributions as dist
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vae.models.networks import batched
from pyro_vae.models.vae import LatentImageModel


class Autoencoder(LatentImageModel):
    """A posterior that is a point, and no KL: minus the log likelihood is all that is minimised.

    As Pyro programs: the guide gives z as a `Delta`, and the latent site is masked in both. What
    its `sample` shows, random codes of a prior that it never heard of, is the VAE's reason to be.
    """

    outputs_per_latent = 1
    has_rate = False

    def encode(self, x: Tensor) -> TorchDistribution:
        return dist.Delta(batched(self.encoder, x, 3)).to_event(1)

    def model(self, x: Tensor, beta: float | Tensor = 0.0) -> Tensor:
        """x ~ p(x | z) for the code z, images (B, C, H, W); beta has nothing to multiply."""
        return self._generate(x, poutine.mask(mask=False))

    def guide(self, x: Tensor, beta: float | Tensor = 0.0) -> Tensor:
        """The code z of images (B, C, H, W)."""
        return self._recognise(x, poutine.mask(mask=False))
