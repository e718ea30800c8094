"""The deterministic autoencoder: a baseline with the same networks as the VAE."""

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

    def model(
        self, x: Tensor | None, beta: float | Tensor = 0.0, num_images: int | None = None
    ) -> Tensor:
        """Run the generative program for images (B, C, H, W): x ~ p(x | z) at the code z.

        `beta` has no effect. Where x is None, it draws `num_images` new images.

        Raises:
            ValueError: if neither is given.
        """
        return self._generate(x, num_images, poutine.mask(mask=False))

    def guide(self, x: Tensor, beta: float | Tensor = 0.0) -> Tensor:
        """Return the code z of images (B, C, H, W); `beta` has no effect."""
        return self._recognise(x, poutine.mask(mask=False))
