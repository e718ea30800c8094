"""The variational autoencoder as two Pyro programs over one plate."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_vae.likelihoods.base import Likelihood
from pyro_vae.likelihoods.families import LIKELIHOODS
from pyro_vae.likelihoods.missing import MissingPixels
from pyro_vae.models.labels import Conditional, beside_pixels, embedding_of, joined_shape
from pyro_vae.models.networks import Sizes, batched, networks, reads_vectors
from pyro_vae.models.posteriors import POSTERIORS, Posterior
from pyro_vae.models.priors import PRIORS, NormalPrior, Prior
from pyro_vae.own_parts import made, part, tried

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


class VAE(Conditional):
    """A VAE of four parts: a network, a likelihood p(x|z), a prior p(z) and a posterior q(z|x).

    Each part is a name, an import path as in `mine.py:Net`, or an object of your own. `model` and
    `guide` are ordinary Pyro programs with the latent site `z`, the observed site `x` and the plate
    `data`. beta multiplies the latent site in both.

    Args:
        image_shape: (C, H, W).
        latent_dim: number of latent components; at least 1 (default: 8).
        likelihood: family of p(x|z); 'pyro-vae likelihoods' explains them; one of `bernoulli`,
            `continuous_bernoulli`, `gaussian_fixed_sigma`, `gaussian_shared_sigma`,
            `gaussian_image_sigma`, `gaussian_pixel_sigma`, `gaussian_optimal_sigma`, `laplace`,
            `student_t`, `beta`, `beta_binomial`, `categorical`, `discretized_logistic`,
            `discretized_logistic_mixture`, or an import path as in `mine.py:Name` (default:
            gaussian_shared_sigma).
        network: kind of encoder and decoder; one of `linear`, `mlp`, `conv`, `resnet`, or an import
            path as in `mine.py:Name` (default: mlp).
        hidden: hidden sizes of the encoder, as in 400,200, mirrored in the decoder; channels for
            conv and resnet; at least 1 (default: 256,128 for mlp, 32,64 for these).
        activation: function between layers; gated is A x * sigmoid(B x); one of `relu`, `tanh`,
            `softplus`, `gated` (default: relu).
        initialisation: how weights start: as torch draws them, or Glorot's uniform; one of `torch`,
            `glorot` (default: torch).
        decoder_features: features per pixel that the decoder gives for every likelihood alike; one
            linear head for all pixels makes the likelihood's outputs of them; at least 1 (default:
            no head).
        levels: the number of grey levels in the data, 2 for binary images and 256 for 8 bits
            (default: 256).
        score: what training maximises: the family's density, or the probability of the grey levels;
            one of `density`, `levels` (default: density).
        sigma: sigma of gaussian_fixed_sigma, in pixel units of [0, 1]; more than 0 (default: 0.25).
        posterior: family of q(z|x); one of `normal`, `full_normal`, `flow`, `point`, or an import
            path as in `mine.py:Name` (default: normal).
        prior: family of p(z); one of `normal`, `mixture`, `vamp`, or an import path as in
            `mine.py:Name` (default: normal).
        conditional: number of classes y in p(x|z,y) and q(z|x,y); at least 1 (default: no labels).
            It may be a module of your own that embeds labels (N,), from 0, as features (N, F).

    Raises:
        ValueError: an unknown name, a size that is not positive, a likelihood that takes no sigma,
            a part that cannot be imported or whose shapes do not fit.

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

    registers = True  # see `unregistered`
    image_shape: tuple[int, int, int]
    likelihood: Likelihood
    posterior: Posterior
    prior_module: nn.Module

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
        posterior: str | Posterior = "normal",
        prior: str | Prior = "normal",
        conditional: int | nn.Module | None = None,
    ):
        super().__init__()
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError(f"image_shape: expected (C, H, W), got {tuple(image_shape)}")
        if latent_dim < 1:
            raise ValueError(f"latent_dim: expected a size >= 1, got {latent_dim}")
        channels, height, width = image_shape
        self.image_shape, self.latent_dim = (channels, height, width), latent_dim
        if isinstance(likelihood, Likelihood):
            self.likelihood = likelihood
        else:
            family = part("likelihood", likelihood, LIKELIHOODS)
            options = _sigma(family, sigma)
            self.likelihood = made(
                "likelihood", likelihood, LIKELIHOODS, self.image_shape, levels, score, **options
            )
        self.posterior = _made("posterior", posterior, POSTERIORS, latent_dim)
        self.embedding, features = embedding_of(conditional)
        self.flat = features > 0 and reads_vectors(network)
        sizes = Sizes(
            joined_shape(self.image_shape, features, self.flat),
            self.posterior.num_outputs,
            latent_dim + features,
            (self.likelihood.channels, height, width),
        )
        self.encoder, self.decoder = networks(
            network, sizes, hidden, activation, initialisation, decoder_features
        )
        self.prior_module = _made("prior", prior, PRIORS, latent_dim)
        if isinstance(self.prior_module, Prior):
            self.prior_module.bind(self.encode, self.image_shape)
        self._renew_name()
        if self.device.type == "meta":  # without numbers; torch would import its compiler to run it
            return
        q = self._check_parts()
        base = getattr(q, "base_dist", q)
        self.has_rate = not isinstance(base, dist.Delta)
        self.diagonal = isinstance(base, dist.Normal)  # q has independent Normal components

    @torch.no_grad()
    def _check_parts(self) -> TorchDistribution:
        """Return the posterior of two black images, after a check of what the parts return for them."""
        training, size, vae = self.training, self.latent_dim, self.of_first_class()
        self.eval()
        with pyro.validation_enabled(False):
            x = next(self.parameters()).new_zeros(2, *self.image_shape)
            outputs = tried("encoder", (self.posterior.num_outputs,), vae._encoded, x)
            q = tried("posterior", (size,), self.posterior, outputs)
            tried("prior", (size,), lambda z: self.prior.expand(z.shape[:1]), q.mean)
            shape = (self.likelihood.channels, *self.image_shape[1:])
            outputs = tried("decoder", shape, vae.outputs, q.mean)
            tried("likelihood", self.image_shape, self.likelihood, outputs)
        self.train(training)
        return q

    def _renew_name(self) -> None:
        # Pyro keys its parameter store by name: models of the same name would share parameters.
        self.name = f"{type(self).__name__.lower()}_{next(_serial)}"

    def __setstate__(self, state: dict) -> None:  # called by deepcopy and unpickling
        super().__setstate__(state)
        self._renew_name()

    def model(
        self,
        x: Tensor | None,
        beta: float | Tensor = 1.0,
        num_images: int | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Run the generative program for images (B, C, H, W): z ~ p(z), x ~ p(x | z).

        Where x is None, it draws `num_images` new images. Where q is a point, p(z) is masked.

        Args:
            beta: the factor on the latent site; without effect where q is a point.
            labels: (B,), of a conditional model, for p(x | z, y).

        Raises:
            ValueError: if neither images nor their number are given.
        """
        if x is None and num_images is None:
            raise ValueError("num_images: expected how many images to draw without x, got None")
        for name in ("prior_module", "embedding", "decoder", "likelihood"):
            self._register(name)
        with pyro.plate("data", num_images if x is None else x.shape[0]):
            with self.on_latent(beta):
                z = pyro.sample("z", self.prior)
            return pyro.sample("x", self.given(labels).decode(z), obs=x)

    def guide(self, x: Tensor, beta: float | Tensor = 1.0, labels: Tensor | None = None) -> Tensor:
        """Run the program of the posterior for images (B, C, H, W): z ~ q(z | x), or q(z | x, y)."""
        for name in ("embedding", "encoder", "posterior"):
            self._register(name)
        with pyro.plate("data", x.shape[0]), self.on_latent(beta):
            return pyro.sample("z", self.given(labels).encode(x))

    def on_latent(self, beta: float | Tensor) -> AbstractContextManager:
        """Return the handler of the latent site in both programs."""
        return scale_latent(beta) if self.has_rate else poutine.mask(mask=False)

    def encode(self, x: Tensor) -> TorchDistribution:
        """Return q(z | x), event shape (latent_dim,), for images (..., C, H, W)."""
        return self.posterior(self._encoded(x))

    def _encoded(self, x: Tensor) -> Tensor:
        x = x.nan_to_num() if self.missing else x
        if self.embedding is not None:
            x = beside_pixels(x, self.features(x.shape[:-3]), self.flat)
        return batched(self.encoder, x, 1 if self.flat else 3)

    def outputs(self, z: Tensor) -> Tensor:
        """Return the decoder's outputs (..., channels, H, W) for latents (..., latent_dim)."""
        if self.embedding is not None:
            z = torch.cat([z, self.features(z.shape[:-1])], -1)
        return batched(self.decoder, z, 1)

    def decode(self, z: Tensor) -> TorchDistribution:
        """Return p(x | z), event shape (C, H, W), for latents (..., latent_dim)."""
        return self._of_images(self.likelihood(self.outputs(z)))

    def decode_levels(self, z: Tensor) -> TorchDistribution:
        """Return P(x | z) over the grey levels, the measure that all families share.

        Raises:
            ValueError: if the family is not a likelihood of such data (`bernoulli` on grey levels).
        """
        return self._of_images(self.likelihood.mass(self.outputs(z)))

    def _of_images(self, p: TorchDistribution) -> TorchDistribution:
        return MissingPixels(p) if self.missing else p

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
        return next(self.parameters()).device

    @property
    def prior(self) -> TorchDistribution:
        """Return p(z), event shape (latent_dim,)."""
        return self.prior_module()

    @property
    def standard_prior(self) -> bool:
        """Return whether p(z) is the standard Normal."""
        return type(self.prior_module) is NormalPrior  # a subclass may be another one

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
    def unregistered(self) -> Iterator["VAE"]:
        """Keep parameters out of Pyro's store while programs run inside a `with` block; give the model.

        This is for optimisers that hold the module's parameters already. Registering the parameters
        takes a tenth of the time that the handlers of a small model take.
        """
        before, self.registers = self.registers, False
        try:
            yield self
        finally:
            self.registers = before

    def _register(self, part: str) -> None:
        if self.registers and getattr(self, part) is not None:
            pyro.module(f"{self.name}.{part}", getattr(self, part))


def _made(argument: str, given: str | nn.Module, known: dict, latent_dim: int) -> Any:
    """Return a part that is given as such, or as what names a callable of `latent_dim`."""
    return made(argument, given, known, latent_dim) if isinstance(given, str) else given


def _sigma(family: Callable, sigma: float | None) -> dict[str, float]:
    """Return the argument sigma of a likelihood, if it is given; one that takes none is refused."""
    if sigma is None:
        return {}
    if "sigma" not in signature(family).parameters:
        raise ValueError(f"sigma: {getattr(family, '__name__', family)} takes none")
    return {"sigma": sigma}
