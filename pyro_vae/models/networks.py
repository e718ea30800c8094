"""Encoders and decoders: linear, multilayer perceptron, convolutional.

Each network is a pair of builders. `encoder` maps images (B, C, H, W) to (B, outputs), and
`decoder` maps latents (B, latent_dim) to (B, channels, H, W). Any image size works. There is no
batch normalisation, because its running buffers would change during capture and under MCMC.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from math import prod
from typing import NamedTuple

from torch import Tensor, nn

from pyro_vae.names import check_name
from pyro_vae.own_parts import is_import_path, made

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}

Shape = tuple[int, int, int]


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


def dense(sizes: list[int], activation: str) -> list[nn.Module]:
    """Return fully connected layers of these sizes, with an activation between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), ACTIVATIONS[activation]()]
    return layers[:-1]


class Network(ABC):
    """A pair of builders, `encoder` and `decoder`, with default hidden sizes."""

    hidden: tuple[int, ...] = ()

    @staticmethod
    def check(image_shape: Shape, hidden: tuple[int, ...]) -> None:
        """Check that the network can be built for this image shape and these hidden sizes.

        Raises:
            ValueError: if it cannot be built.
        """

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
    def encoder(image_shape, outputs, hidden, activation):
        colors, height, width = image_shape
        last = Conv._sizes(height, width, len(hidden))[-1]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([colors, *hidden]):
            layers += [nn.Conv2d(n_in, n_out, 4, 2, 1), ACTIVATIONS[activation]()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(hidden[-1] * prod(last), outputs))

    @staticmethod
    def decoder(latent_dim, output_shape, hidden, activation):
        channels, height, width = output_shape
        sizes = Conv._sizes(height, width, len(hidden))
        first = (hidden[-1], *sizes[-1])
        layers = [nn.Linear(latent_dim, prod(first)), nn.Unflatten(1, first)]
        for (n_in, n_out), (height, width) in zip(
            pairwise([*reversed(hidden), channels]), reversed(sizes[:-1])
        ):
            odd = height % 2, width % 2
            layers += [
                ACTIVATIONS[activation](),
                nn.ConvTranspose2d(n_in, n_out, 4, 2, 1, output_padding=odd),
            ]
        return nn.Sequential(*layers)


NETWORKS: dict[str, type[Network]] = {"linear": Linear, "mlp": MLP, "conv": Conv}


def networks(
    network: str | tuple[nn.Module, nn.Module],
    sizes: Sizes,
    hidden: tuple[int, ...] | None,
    activation: str,
) -> tuple[nn.Module, nn.Module]:
    """Return the encoder and the decoder that are given, or that a name or an import path makes.

    Args:
        network: an import path names a callable that is given the four of `Sizes` and returns both.
        hidden, activation: of a network that is given by its name.

    Raises:
        ValueError: an unknown name, sizes that the network cannot have, or `hidden` beside a network
            that does not take it.
    """
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
