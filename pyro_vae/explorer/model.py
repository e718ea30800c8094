"""A model as the page's JavaScript reads it: two networks as lists of plain layers, and a likelihood.

A layer is a dict with its `kind`, its sizes, and its weights as base64 of float32. Every kind has a
function of the same name in `pages/templates/explorer/networks.js`, and every likelihood family one
in `likelihoods.js`.
"""

import base64
from collections.abc import Callable
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae import names
from pyro_vae.likelihoods import LIKELIHOODS, Likelihood
from pyro_vae.models.networks import Gate, PixelHead
from pyro_vae.models.posteriors import FullNormalPosterior, PointPosterior
from pyro_vae.models.vae import VAE

Layer = dict[str, object]
PLAIN = {"groups": 1, "dilation": (1, 1), "padding_mode": "zeros"}  # what the loops compute


def describe(model: VAE) -> dict[str, object]:
    """Return a model as a table for JSON, with its weights as base64 of float32.

    Raises:
        ValueError: if a network has a layer, or the model a likelihood, a prior or a posterior, that
            the page cannot run.
    """
    if model.embedding is not None:
        raise ValueError("conditional: the page gives no labels to a model")
    if not model.standard_prior:
        raise ValueError("prior: the page knows the standard Normal only")
    if not (model.diagonal or isinstance(model.posterior, (FullNormalPosterior, PointPosterior))):
        raise ValueError("posterior: the page knows Normals and points only")
    return {
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "encoder": layers_of(model.encoder),
        "decoder": layers_of(model.decoder),
        "likelihood": describe_likelihood(model.likelihood),
    }


def describe_likelihood(likelihood: Likelihood) -> dict[str, object]:
    """Return how expected images follow from the decoder's outputs.

    `by_levels` says whether they are means over grey levels, and not means of the density.

    Raises:
        ValueError: if the family is not one of the package.
    """
    name = {family: name for name, family in LIKELIHOODS.items()}.get(type(likelihood))
    if name not in names.LIKELIHOODS:
        kind = type(likelihood).__name__
        raise ValueError(f"likelihood: the page knows the families of the package only, got {kind}")
    numbers = chain(likelihood.named_parameters(), likelihood.named_buffers())
    return {
        "family": name,
        "levels": likelihood.levels,
        "by_levels": likelihood.score == "levels",
        "numbers": {key: float32_text(values) for key, values in numbers},
    }


# --- layers ---------------------------------------------------------------------------------------


def layers_of(network: nn.Module) -> list[Layer]:
    """Return the layers of a network in the order in which they are applied.

    Raises:
        ValueError: if the network has a layer that the page cannot run.

    Example:
        >>> [layer["kind"] for layer in layers_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))]
        ['linear', 'relu']
    """
    if type(network) is nn.Sequential:
        return [layer for part in network for layer in layers_of(part)]
    if type(network) not in DESCRIPTIONS:
        known = ", ".join(kind.__name__ for kind in DESCRIPTIONS)
        raise ValueError(
            f"network: the page cannot run the layer {type(network).__name__}; expected {known}"
        )
    return [DESCRIPTIONS[type(network)](network)]


def _unflatten(layer: nn.Unflatten) -> Layer:
    return {"kind": "unflatten", "shape": list(layer.unflattened_size)}


def _linear(layer: nn.Linear) -> Layer:
    return {"kind": "linear", "outputs": layer.out_features, **_weights(layer, layer.out_features)}


def _convolution(layer: nn.Conv2d) -> Layer:
    return {"kind": "convolution", **_window(layer)}


def _head(layer: PixelHead) -> Layer:
    window = {"kernel": [1, 1], "stride": [1, 1], "padding": [0, 0]}
    return _linear(layer) | {"kind": "convolution", **window}


def _transposed_convolution(layer: nn.ConvTranspose2d) -> Layer:
    kind = {"kind": "transposedConvolution", "added": list(layer.output_padding)}
    return kind | _window(layer)


def _window(layer: nn.Conv2d | nn.ConvTranspose2d) -> Layer:
    for name, expected in PLAIN.items():
        found = getattr(layer, name)
        if found != expected:
            raise ValueError(
                f"network: the page runs convolutions of {name}={expected}, got {found}"
            )
    if isinstance(layer.padding, str):
        raise ValueError(
            f"network: the page runs convolutions of a padding in numbers, got {layer.padding!r}"
        )
    return {
        "outputs": layer.out_channels,
        "kernel": list(layer.kernel_size),
        "stride": list(layer.stride),
        "padding": list(layer.padding),
        **_weights(layer, layer.out_channels),
    }


def _weights(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, outputs: int) -> Layer:
    bias = torch.zeros(outputs) if layer.bias is None else layer.bias
    return {"weight": float32_text(layer.weight), "bias": float32_text(bias)}


def _bare(kind: str) -> Callable[[nn.Module], Layer]:
    return lambda layer: {"kind": kind}


DESCRIPTIONS: dict[type[nn.Module], Callable[..., Layer]] = {
    nn.Flatten: _bare("flatten"),
    nn.Unflatten: _unflatten,
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    PixelHead: _head,
    nn.ReLU: _bare("relu"),
    nn.Tanh: _bare("tanh"),
    nn.Softplus: _bare("softplus"),
    Gate: _bare("gated"),
}


# --- numbers as text ------------------------------------------------------------------------------


def float32_text(values: Tensor, name: str = "weights") -> str:
    """Return numbers as base64 of little-endian float32, row by row.

    Raises:
        ValueError: if a number is not finite in float32; it opens with `name`.
    """
    numbers = values.detach().cpu().float().numpy()
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinite ones")
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


def byte_text(values: Tensor) -> str:
    """Return whole numbers from 0 to 255 as base64, row by row."""
    return base64.b64encode(values.cpu().numpy().astype(np.uint8).tobytes()).decode()
