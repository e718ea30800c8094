"""The variational autoencoder as two Pyro programs over one plate."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_vae.likelihoods.base import Likelihood
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.likelihoods.families import LIKELIHOODS
from pyro_vae.models.networks import ACTIVATIONS, NETWORKS, batched
from pyro_vae.names import check_name

_serial = itertools.count()


def scale_latent(beta: float | Tensor):
    """Return the handler that multiplies the log probabilities of the latent site by beta.

    `poutine.scale` refuses 0, so the number 0 masks the site instead. Reading a tensor would sync
    the device, so a tensor is clamped to the smallest positive number.

    Raises:
        ValueError: if beta is a negative number or not finite.
    """
    if isinstance(beta, Tensor):
        return poutine.scale(scale=beta.clamp_min(torch.finfo(beta.dtype).tiny))
    if not 0 <= beta < float("inf"):
        raise ValueError(f"beta: expected a number >= 0, got {beta}")
    if beta == 1:
        return nullcontext()  # saves a handler for every message
    return poutine.scale(scale=beta) if beta > 0 else poutine.mask(mask=False)


class LatentImageModel(nn.Module, ABC):
    """The common base of the VAE and the autoencoder: networks, likelihood and generative program.

    Its arguments are those of `VAE`.
    """

    outputs_per_latent: int  # encoder outputs per latent component
    has_rate: bool  # whether the posterior has a KL to the prior
    registers = True  # see `unregistered`
    image_shape: tuple[int, int, int]
    _zeros: Tensor
    _ones: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int = 8,
        likelihood: str = "gaussian_shared_sigma",
        network: str = "mlp",
        hidden: tuple[int, ...] | None = None,
        activation: str = "relu",
        levels: int = 256,
        score: str = "density",
        sigma: float | None = None,
    ):
        super().__init__()
        family = LIKELIHOODS[check_name("likelihood", likelihood, LIKELIHOODS)]
        builder = NETWORKS[check_name("network", network, NETWORKS)]
        check_name("activation", activation, ACTIVATIONS)
        hidden = builder.hidden if hidden is None else tuple(hidden)
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError(f"image_shape: expected (C, H, W), got {tuple(image_shape)}")
        if latent_dim < 1 or min(hidden, default=1) < 1:
            raise ValueError(f"latent_dim, hidden: expected sizes >= 1, got {latent_dim}, {hidden}")
        if sigma is not None and "sigma" not in signature(family).parameters:
            raise ValueError(f"sigma: only gaussian_fixed_sigma takes one, not {likelihood}")
        builder.check(image_shape, hidden)
        options = {} if sigma is None else {"sigma": sigma}
        channels, height, width = image_shape
        self.image_shape, self.latent_dim = (channels, height, width), latent_dim
        self.likelihood: Likelihood = family(image_shape, levels, score, **options)
        outputs = self.outputs_per_latent * latent_dim
        output_shape = (self.likelihood.channels, *image_shape[1:])
        self.encoder = builder.encoder(self.image_shape, outputs, hidden, activation)
        self.decoder = builder.decoder(latent_dim, output_shape, hidden, activation)
        self.register_buffer("_zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("_ones", torch.ones(latent_dim), persistent=False)
        self._renew_name()

    def _renew_name(self) -> None:
        # Pyro keys its parameter store by name: models of the same name would share parameters.
        self.name = f"{type(self).__name__.lower()}_{next(_serial)}"

    def __setstate__(self, state: dict) -> None:  # called by deepcopy and unpickling
        super().__setstate__(state)
        self._renew_name()

    def model(
        self, x: Tensor | None, beta: float | Tensor = 1.0, num_images: int | None = None
    ) -> Tensor:
        """Run the generative program for images (B, C, H, W): z ~ p(z), x ~ p(x | z).

        Where x is None, it draws `num_images` new images. In an autoencoder p(z) is masked.

        Args:
            beta: the factor on the latent site; without effect in an autoencoder.

        Raises:
            ValueError: if neither images nor their number are given.
        """
        if x is None and num_images is None:
            raise ValueError("num_images: expected how many images to draw without x, got None")
        self._register("decoder")
        self._register("likelihood")
        with pyro.plate("data", num_images if x is None else x.shape[0]):
            with self.on_latent(beta):
                z = pyro.sample("z", self.prior)
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """Run the program of the posterior for images (B, C, H, W): z ~ q(z | x)."""
        self._register("encoder")
        with pyro.plate("data", x.shape[0]), self.on_latent(beta):
            return pyro.sample("z", self.encode(x))

    @abstractmethod
    def on_latent(self, beta: float | Tensor) -> AbstractContextManager:
        """Return the handler of the latent site in both programs."""

    @abstractmethod
    def encode(self, x: Tensor) -> TorchDistribution:
        """Return q(z | x), event shape (latent_dim,), for images (..., C, H, W)."""

    def outputs(self, z: Tensor) -> Tensor:
        """Return the decoder's outputs (..., channels, H, W) for latents (..., latent_dim)."""
        return batched(self.decoder, z, 1)

    def decode(self, z: Tensor) -> TorchDistribution:
        """Return p(x | z), event shape (C, H, W), for latents (..., latent_dim)."""
        return self.likelihood(self.outputs(z))

    def decode_levels(self, z: Tensor) -> TorchDistribution:
        """Return P(x | z) over the grey levels, the measure that all families share.

        Raises:
            ValueError: if the family is not a likelihood of such data (`bernoulli` on grey levels).
        """
        return self.likelihood.mass(self.outputs(z))

    def check_shape(self, images: Tensor, argument: str = "images") -> None:
        """Check that `images` is a tensor (N, C, H, W) of the model's images, with N at least 1.

        Args:
            argument: what it was given as; it opens the message.

        Raises:
            ValueError: it is not; a shape that fits by broadcasting only would be scored wrongly.
        """
        tensor = isinstance(images, Tensor)
        if not tensor or images.shape[1:] != self.image_shape or len(images) == 0:
            kind = type(images)
            got = tuple(images.shape) if tensor else f"a {kind.__module__}.{kind.__name__}"
            shape = ", ".join(map(str, self.image_shape))
            raise ValueError(
                f"{argument}: expected a tensor (N, {shape}) of at least one image, got {got}"
            )

    def extra_repr(self) -> str:
        return f"image_shape={self.image_shape}, latent_dim={self.latent_dim}"

    @property
    def device(self) -> torch.device:
        """Return the device that the model is on."""
        return self._zeros.device

    @property
    def prior(self) -> TorchDistribution:
        """Return p(z), the standard Normal."""
        return Normal(self._zeros, self._ones).to_event(1)

    @torch.no_grad()
    def images(self, z: Tensor, draw: bool = False) -> Tensor:
        """Return expected images (..., C, H, W) for latents (..., latent_dim), or drawn ones.

        Expected images are for the eye. Images with the noise of the likelihood are what the model
        says that data look like. They are drawn on the grey levels, or by the family's own
        distribution if it gives them no probability. Pixels are clamped to [0, 1].
        """
        if not draw:
            return self.decode(z).mean.clamp(0, 1)
        x = self.decode_levels(z) if self.likelihood.is_likelihood else self.decode(z)
        return x.sample().clamp(0, 1)

    def reconstruct(self, x: Tensor, draw: bool = False) -> Tensor:
        """Return images (..., C, H, W) for z ~ q(z | x): expected ones, or drawn ones."""
        with torch.no_grad():
            z = self.encode(x).sample()
        return self.images(z, draw)

    def sample(self, num_samples: int, draw: bool = False) -> Tensor:
        """Return images (num_samples, C, H, W) for z ~ p(z): expected ones, or drawn ones."""
        return self.images(self.prior.sample((num_samples,)), draw)

    @contextmanager
    def unregistered(self) -> Iterator[None]:
        """Keep parameters out of Pyro's store while programs run inside a `with` block.

        This is for optimisers that hold the module's parameters already. Registering the parameters
        takes a tenth of the time that the handlers of a small model take.
        """
        before, self.registers = self.registers, False
        try:
            yield
        finally:
            self.registers = before

    def _register(self, part: str) -> None:
        if self.registers:
            pyro.module(f"{self.name}.{part}", getattr(self, part))


class VAE(LatentImageModel):
    """A VAE with a standard Normal prior and an amortized diagonal Normal posterior.

    The decoder gives the likelihood. `model` and `guide` are ordinary Pyro programs with the latent
    site `z`, the observed site `x` and the plate `data`. beta multiplies the latent site in both.

    Args:
        image_shape: (C, H, W).
        latent_dim: number of latent components; at least 1 (default: 8).
        likelihood: family of p(x|z); 'pyro-vae likelihoods' explains them; one of `bernoulli`,
            `continuous_bernoulli`, `gaussian_fixed_sigma`, `gaussian_shared_sigma`,
            `gaussian_image_sigma`, `gaussian_pixel_sigma`, `gaussian_optimal_sigma`, `laplace`,
            `student_t`, `beta`, `beta_binomial`, `categorical`, `discretized_logistic`,
            `discretized_logistic_mixture` (default: gaussian_shared_sigma).
        network: kind of encoder and decoder; one of `linear`, `mlp`, `conv` (default: mlp).
        hidden: hidden sizes of the encoder, as in 400,200, mirrored in the decoder; channels for
            conv; at least 1 (default: 256,128 for mlp, 32,64 for conv).
        activation: function between layers; one of `relu`, `tanh`, `softplus` (default: relu).
        levels: the number of grey levels in the data, 2 for binary images and 256 for 8 bits
            (default: 256).
        score: what training maximises: the family's density, or the probability of the grey levels;
            one of `density`, `levels` (default: density).
        sigma: sigma of gaussian_fixed_sigma, in pixel units of [0, 1]; more than 0 (default: 0.25).

    Raises:
        ValueError: if a name is unknown, a size is not positive, or the family takes no sigma.

    Source: Kingma and Welling, "Auto-encoding variational Bayes", 2013,
    https://arxiv.org/abs/1312.6114; for beta Higgins et al., "beta-VAE", 2017.

    Example:
        >>> vae = VAE((1, 8, 8), latent_dim=2, likelihood="bernoulli", levels=2)
        >>> x = torch.zeros(5, 1, 8, 8)
        >>> vae.encode(x).event_shape, vae.decode(torch.zeros(5, 2)).event_shape
        (torch.Size([2]), torch.Size([1, 8, 8]))
        >>> new = pyro.infer.Predictive(vae.model, num_samples=1)(None, num_images=3)
        >>> new["x"].shape
        torch.Size([1, 3, 1, 8, 8])
        >>> svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({}), pyro.infer.Trace_ELBO())
        >>> svi.step(x, beta=4.0) > 0
        True
    """

    outputs_per_latent = 2
    has_rate = True

    def encode(self, x: Tensor) -> TorchDistribution:
        loc, log_scale = batched(self.encoder, x, 3).chunk(2, -1)
        return Normal(loc, log_scale.exp()).to_event(1)

    def on_latent(self, beta: float | Tensor) -> AbstractContextManager:
        return scale_latent(beta)
