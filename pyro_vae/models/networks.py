"""Encoders and decoders: linear, multilayer perceptron, convolutional, residual.

Each network is a pair of builders. `encoder` maps images (B, C, H, W) to (B, outputs), and
`decoder` maps latents (B, latent_dim) to (B, channels, H, W). Any image size works. There is no
batch normalisation, because its running buffers would change during capture and under MCMC.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import NamedTuple

from torch import Tensor, nn

from pyro_vae.names import check_name
from pyro_vae.own_parts import is_import_path, made

Shape = tuple[int, int, int]


class Gate(nn.GLU):
    """The activation of gated layers: the first half of the channels times the sigmoid of the rest.

    After a layer of twice the size it gives `(A h + a) * sigmoid(B h + b)`.

    Source: Tomczak and Welling, "VAE with a VampPrior", 2018, https://arxiv.org/abs/1705.07120.
    """

    def __init__(self):
        super().__init__(dim=1)


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "gated": Gate,
}


def before(activation: str, units: int) -> int:
    """Return the number of outputs of a layer whose activation is to give this many units."""
    return 2 * units if ACTIVATIONS[activation] is Gate else units


def torchs_own(layer: nn.Module) -> None:
    """Leave a layer as torch draws it."""


def glorot(layer: nn.Module) -> None:
    """Draw the weights of a layer from Glorot's uniform distribution, and set its biases to 0.

    The variance of a weight is `2 / (fan_in + fan_out)`. Normalisations stay as they are.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, https://proceedings.mlr.press/v9/glorot10a.html.
    """
    if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


INITIALISATIONS: dict[str, Callable[[nn.Module], None]] = {"torch": torchs_own, "glorot": glorot}


class Sizes(NamedTuple):
    """What a pair of networks must fit."""

    image_shape: Shape  # into the encoder
    num_outputs: int  # out of the encoder
    latent_dim: int  # into the decoder
    output_shape: Shape  # out of the decoder


def batched(network: nn.Module, x: Tensor, event_dims: int) -> Tensor:
    """Apply a network to x with any number of leading dimensions.

    They are flattened into one for the network, and restored in its output.

    Args:
        event_dims: the number of trailing dimensions that make up one input.
    """
    if x.dim() == event_dims + 1:
        return network(x).to(x.dtype)
    leading, event = x.shape[: x.dim() - event_dims], x.shape[x.dim() - event_dims :]
    out = network(x.reshape(-1, *event))
    return out.to(x.dtype).reshape(*leading, *out.shape[1:])


class PixelHead(nn.Linear):
    """A linear layer from features (B, F, H, W) to outputs, with the same weights for all pixels."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.movedim(-3, -1)).movedim(-1, -3)


def dense(sizes: list[int], activation: str) -> list[nn.Module]:
    """Return fully connected layers of these sizes, with an activation between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(n_in, before(activation, n_out)), ACTIVATIONS[activation]()]
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]


class Network(ABC):
    """A pair of builders, `encoder` and `decoder`, with default hidden sizes."""

    hidden: tuple[int, ...] = ()
    flat = False  # whether the encoder reads vectors of pixels as well as images

    @staticmethod
    def check(image_shape: Shape, hidden: tuple[int, ...]) -> None:
        """Raise a ValueError unless the network can be built for this image shape and hidden sizes."""

    @staticmethod
    @abstractmethod
    def encoder(image_shape: Shape, outputs: int, hidden: tuple, activation: str) -> nn.Module:
        """Return a module that maps images (B, C, H, W) to (B, outputs)."""

    @staticmethod
    @abstractmethod
    def decoder(latent_dim: int, output_shape: Shape, hidden: tuple, activation: str) -> nn.Module:
        """Return a module that maps latents (B, latent_dim) to (B, *output_shape)."""


class MLP(Network):
    """A pair of fully connected networks; the decoder has the hidden sizes in reverse order."""

    hidden: tuple[int, ...] = (256, 128)
    flat = True

    @staticmethod
    def encoder(image_shape, outputs, hidden, activation):
        return nn.Sequential(
            nn.Flatten(), *dense([prod(image_shape), *hidden, outputs], activation)
        )

    @staticmethod
    def decoder(latent_dim, output_shape, hidden, activation):
        layers = dense([latent_dim, *reversed(hidden), prod(output_shape)], activation)
        return nn.Sequential(*layers, nn.Unflatten(1, output_shape))


class Linear(MLP):
    """One linear layer in each direction; with a Normal likelihood this is probabilistic PCA."""

    hidden: tuple[int, ...] = ()

    @staticmethod
    def check(image_shape, hidden):
        if hidden:
            raise ValueError(f"hidden: a linear network has no hidden layers, got {hidden}")


class Conv(Network):
    """Convolutions with kernel 4 and stride 2, and a linear layer to the latents.

    `hidden` holds the channels of the convolutions.
    """

    hidden = (32, 64)

    @staticmethod
    def check(image_shape, hidden):
        shortest = min(image_shape[1:])
        if not hidden or shortest < 2 ** len(hidden):
            raise ValueError(
                f"hidden: each convolution halves the image, so {shortest} pixels allow"
                f" 1 to {shortest.bit_length() - 1} of them, got {len(hidden)}"
            )

    @staticmethod
    def _sizes(height: int, width: int, halvings: int) -> list[tuple[int, int]]:
        return [(height >> k, width >> k) for k in range(halvings + 1)]

    @staticmethod
    def block(units: int, activation: str) -> list[nn.Module]:
        """Return the activation of a convolution, and what follows it at the same image size."""
        return [ACTIVATIONS[activation]()]

    @classmethod
    def encoder(cls, image_shape, outputs, hidden, activation):
        colors, height, width = image_shape
        last = cls._sizes(height, width, len(hidden))[-1]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([colors, *hidden]):
            layers += [nn.Conv2d(n_in, before(activation, n_out), 4, 2, 1)]
            layers += cls.block(n_out, activation)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(hidden[-1] * prod(last), outputs))

    @classmethod
    def decoder(cls, latent_dim, output_shape, hidden, activation):
        channels, height, width = output_shape
        sizes = cls._sizes(height, width, len(hidden))
        units = list(reversed(hidden))
        first, *outputs = [*(before(activation, n) for n in units), channels]
        layers = [
            nn.Linear(latent_dim, first * prod(sizes[-1])),
            nn.Unflatten(1, (first, *sizes[-1])),
        ]
        for n_in, n_out, (height, width) in zip(units, outputs, reversed(sizes[:-1])):
            odd = height % 2, width % 2
            layers += cls.block(n_in, activation)
            layers += [nn.ConvTranspose2d(n_in, n_out, 4, 2, 1, output_padding=odd)]
        return nn.Sequential(*layers)


class Residual(nn.Module):
    """A residual block `h + f(h)` of images (B, channels, H, W).

    f is a group normalisation, a convolution, an activation, and a convolution. A group has sixteen
    channels, or all of them where sixteen do not divide their number.

    Source: He, Zhang, Ren and Sun, "Identity mappings in deep residual networks", 2016,
    https://arxiv.org/abs/1603.05027; Wu and He, "Group normalization", 2018,
    https://arxiv.org/abs/1803.08494.
    """

    def __init__(self, channels: int, activation: str):
        super().__init__()
        groups = 1 if channels % 16 else channels // 16
        self.change = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.Conv2d(channels, before(activation, channels), 3, padding=1),
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, h: Tensor) -> Tensor:
        return h + self.change(h)


class ResNet(Conv):
    """The network `conv` with a residual block at every image size."""

    @staticmethod
    def block(units, activation):
        return [ACTIVATIONS[activation](), Residual(units, activation)]


NETWORKS: dict[str, type[Network]] = {
    "linear": Linear,
    "mlp": MLP,
    "conv": Conv,
    "resnet": ResNet,
}


def reads_vectors(network: str | tuple[nn.Module, nn.Module]) -> bool:
    """Return whether the encoder of a network reads vectors of pixels, which labels can follow."""
    return isinstance(network, str) and network in NETWORKS and NETWORKS[network].flat


def networks(
    network: str | tuple[nn.Module, nn.Module],
    sizes: Sizes,
    hidden: tuple[int, ...] | None,
    activation: str,
    initialisation: str,
    decoder_features: int | None,
) -> tuple[nn.Module, nn.Module]:
    """Return the encoder and the decoder that are given, or that a name or an import path makes.

    Args:
        network: an import path names a callable that is given the four of `Sizes` and returns both.
        hidden, activation: of a network that is given by its name.
        decoder_features: the decoder's outputs per pixel, of which a head makes those of `sizes`.

    Raises:
        ValueError: an unknown name, sizes that the network cannot have, or `hidden` beside a network
            that does not take it.
    """
    check_name("initialisation", initialisation, INITIALISATIONS)
    outputs, height, width = sizes.output_shape
    if decoder_features is not None and decoder_features < 1:
        raise ValueError(f"decoder_features: expected at least 1, got {decoder_features}")
    if decoder_features:
        sizes = sizes._replace(output_shape=(decoder_features, height, width))
    encoder, decoder = _without_head(network, sizes, hidden, activation)
    if decoder_features:
        decoder = nn.Sequential(decoder, PixelHead(decoder_features, outputs))
    for part in (encoder, decoder):
        part.apply(INITIALISATIONS[initialisation])
    return encoder, decoder


def _without_head(
    network: str | tuple[nn.Module, nn.Module],
    sizes: Sizes,
    hidden: tuple[int, ...] | None,
    activation: str,
) -> tuple[nn.Module, nn.Module]:
    check_name("activation", activation, ACTIVATIONS)
    if min(hidden or (1,)) < 1:
        raise ValueError(f"hidden: expected sizes >= 1, got {hidden}")
    if isinstance(network, str) and not is_import_path(network):
        kind = NETWORKS[check_name("network", network, NETWORKS)]
        hidden = kind.hidden if hidden is None else tuple(hidden)
        kind.check(sizes.image_shape, hidden)
        encoder = kind.encoder(sizes.image_shape, sizes.num_outputs, hidden, activation)
        return encoder, kind.decoder(sizes.latent_dim, sizes.output_shape, hidden, activation)
    if hidden is not None:
        raise ValueError("hidden: goes with the name of a network; one of your own has its sizes")
    return _pair(made("network", network, {}, *sizes) if isinstance(network, str) else network)


def _pair(given: object) -> tuple[nn.Module, nn.Module]:
    if isinstance(given, (tuple, list)) and len(given) == 2:
        encoder, decoder = given
        if isinstance(encoder, nn.Module) and isinstance(decoder, nn.Module):
            return encoder, decoder
    raise ValueError(f"network: expected a pair of modules (encoder, decoder), got {given!r:.80}")
