"""The deterministic autoencoder: a baseline with the same networks as the VAE."""

from torch import nn

from pyro_vae.likelihoods.base import Likelihood
from pyro_vae.models.vae import VAE


class Autoencoder(VAE):
    """A deterministic autoencoder: the VAE whose posterior is a point, and whose loss has no KL.

    The loss is minus the log likelihood alone. As Pyro programs, the guide gives z as a `Delta`,
    and the latent site is masked in both. Training does not make the codes follow the prior, so the
    images from `sample` show the problem that the VAE solves.

    Args:
        image_shape, latent_dim, likelihood, network, hidden, activation: as for `VAE`.
        initialisation, decoder_features, levels, score, sigma, conditional: as for `VAE`.

    Raises:
        ValueError: what `VAE` refuses.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int = 8,
        likelihood: str | Likelihood = "gaussian_shared_sigma",
        network: str | tuple[nn.Module, nn.Module] = "mlp",
        hidden: tuple[int, ...] | None = None,
        activation: str = "relu",
        initialisation: str = "torch",
        decoder_features: int | None = None,
        levels: int = 256,
        score: str = "density",
        sigma: float | None = None,
        conditional: int | nn.Module | None = None,
    ):
        super().__init__(
            image_shape, latent_dim, likelihood, network, hidden, activation, initialisation,
            decoder_features, levels, score, sigma, posterior="point", conditional=conditional,
        )  # fmt: skip
