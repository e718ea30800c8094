"""Encoders and decoders: linear, multilayer perceptron, convolutional.

Each network is a pair of builders. `encoder` maps images (B, C, H, W) to (B, outputs), `decoder`
maps latents (B, latent_dim) to (B, channels, H, W); any image size works. No batch normalisation:
its running buffers would change while a program is captured, and under MCMC.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from math import prod

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}

Shape = tuple[int, int, int]


def batched(network: nn.Module, x: Tensor, event_dims: int) -> Tensor:
    """The network applied to x, whose leading dimensions are flattened into one and restored."""
    if x.dim() == event_dims + 1:
        return network(x).to(x.dtype)
    leading, event = x.shape[: x.dim() - event_dims], x.shape[x.dim() - event_dims :]
    out = network(x.reshape(-1, *event))
    return out.to(x.dtype).reshape(*leading, *out.shape[1:])


def dense(sizes: list[int], activation: str) -> list[nn.Module]:
    """Fully connected layers of these sizes, an activation between each two."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), ACTIVATIONS[activation]()]
    return layers[:-1]


class Network(ABC):
    """A pair of builders, `encoder` and `decoder`, with the hidden sizes used unless told."""

    hidden: tuple[int, ...] = ()

    @staticmethod
    def check(image_shape: Shape, hidden: tuple[int, ...]) -> None:
        """Raise a ValueError where the network cannot be built for this image and these sizes."""

    @staticmethod
    @abstractmethod
    def encoder(image_shape: Shape, outputs: int, hidden: tuple, activation: str) -> nn.Module:
        """Images (B, C, H, W) to (B, outputs)."""

    @staticmethod
    @abstractmethod
    def decoder(latent_dim: int, output_shape: Shape, hidden: tuple, activation: str) -> nn.Module:
        """Latents (B, latent_dim) to (B, *output_shape)."""


class MLP(Network):
    """Fully connected layers, in the decoder in reverse order."""

    hidden = (256, 128)

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
    """One layer each way: with a Normal likelihood, probabilistic PCA."""

    hidden = ()

    @staticmethod
    def check(image_shape, hidden):
        if hidden:
            raise ValueError(f"hidden: a linear network has no hidden layers, got {hidden}")


class Conv(Network):
    """Convolutions of kernel 4 and stride 2, `hidden` their channels; a linear layer to the latents."""

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
        colors, *size = image_shape
        last = Conv._sizes(*size, len(hidden))[-1]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([colors, *hidden]):
            layers += [nn.Conv2d(n_in, n_out, 4, 2, 1), ACTIVATIONS[activation]()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(hidden[-1] * prod(last), outputs))

    @staticmethod
    def decoder(latent_dim, output_shape, hidden, activation):
        channels, *size = output_shape
        sizes = Conv._sizes(*size, len(hidden))
        first = (hidden[-1], *sizes[-1])
        layers = [nn.Linear(latent_dim, prod(first)), nn.Unflatten(1, first)]
        for (n_in, n_out), target in zip(
            pairwise([*reversed(hidden), channels]), reversed(sizes[:-1])
        ):
            odd = tuple(n % 2 for n in target)
            layers += [
                ACTIVATIONS[activation](),
                nn.ConvTranspose2d(n_in, n_out, 4, 2, 1, output_padding=odd),
            ]
        return nn.Sequential(*layers)


NETWORKS: dict[str, type[Network]] = {"linear": Linear, "mlp": MLP, "conv": Conv}
