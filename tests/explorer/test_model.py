"""Models as the page reads them: what it knows, and what is refused by name."""

import base64
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from pyro_vae.explorer.model import DESCRIPTIONS, byte_text, describe_likelihood, layers_of
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.models.networks import ACTIVATIONS, NETWORKS, Gate, PixelHead, Residual
from tests.support.house import ROOT

SCRIPTS = ROOT / "pyro_vae/pages/templates/explorer"


def numbers_of(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "resnet"])
def test_every_network_is_described(name, activation):
    network = NETWORKS[name]
    for part in (
        network.encoder((1, 8, 8), 4, network.hidden, activation),
        network.decoder(2, (3, 8, 8), network.hidden, activation),
    ):
        layers = layers_of(part)
        assert len(layers) == len(list(part))
        kinds = {layer["kind"] for layer in layers}
        assert (activation in kinds) == (name != "linear")
        weights = [layer for layer in layers if "weight" in layer]
        sizes = [numbers_of(layer[key]).size for layer in weights for key in ("weight", "bias")]
        assert sum(sizes) == sum(p.numel() for p in part.parameters())


def test_every_kind_of_layer_has_a_function_of_the_page():
    made = [
        nn.Flatten(), nn.Unflatten(1, (1, 2, 2)), nn.Linear(2, 3), nn.Conv2d(1, 2, 3),
        nn.ConvTranspose2d(1, 2, 3), PixelHead(2, 3), nn.ReLU(), nn.Tanh(), nn.Softplus(), Gate(),
    ]  # fmt: skip
    assert [type(layer) for layer in made] == list(DESCRIPTIONS)
    (table,) = [
        line for line in (SCRIPTS / "networks.js").read_text().split(";") if "const LAYERS" in line
    ]
    for (layer,) in map(layers_of, made):
        assert layer["kind"] in table


def test_weights_are_exact_and_in_order():
    layer = nn.Linear(3, 2, bias=False)
    (described,) = layers_of(layer)
    assert numbers_of(described["weight"]).tolist() == layer.weight.flatten().tolist()
    assert (numbers_of(described["bias"]) == 0).all()
    assert described["outputs"] == 2
    assert base64.b64decode(byte_text(torch.tensor([0.0, 7.0, 255.0]))) == bytes([0, 7, 255])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e39])
def test_weights_that_are_no_numbers_are_refused(wrong):
    layer = nn.Linear(3, 2).double()
    layer.bias.data[1] = wrong
    with pytest.raises(ValueError, match="weights: expected finite numbers, got NaN or infinite"):
        layers_of(layer)


def test_networks_inside_networks_are_walked():
    inner = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))
    assert [layer["kind"] for layer in layers_of(inner)] == ["relu", "tanh"]


@pytest.mark.parametrize(
    "layer, message",
    [
        (Residual(4, "relu"), "network: the page cannot run the layer Residual; expected Flatten"),
        (nn.GELU(), "network: the page cannot run the layer GELU; expected Flatten, Unflatten"),
        (nn.Conv2d(2, 2, 3, groups=2), "convolutions of groups=1, got 2"),
        (nn.Conv2d(1, 1, 3, dilation=2), r"convolutions of dilation=\(1, 1\), got \(2, 2\)"),
        (nn.Conv2d(1, 1, 3, padding_mode="reflect"), "padding_mode=zeros, got reflect"),
        (nn.Conv2d(1, 1, 3, padding="same"), "of a padding in numbers, got 'same'"),
    ],
)
def test_layers_that_the_page_cannot_run(layer, message):
    with pytest.raises(ValueError, match=message):
        layers_of(nn.Sequential(nn.ReLU(), layer))


def test_a_subclass_may_do_anything_and_is_refused():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    class Reversed(nn.Sequential):
        def forward(self, x):
            return self[0](self[1](x))

    for layer in (Doubled(1, 1), Reversed(nn.Linear(1, 1), nn.Tanh())):
        with pytest.raises(ValueError, match=f"cannot run the layer {type(layer).__name__}"):
            layers_of(layer)


# --- likelihoods ------------------------------------------------------------------------------------


def test_every_family_has_its_function_on_the_page():
    script = (SCRIPTS / "likelihoods.js").read_text()
    table = script[script.index("const EXPECTED") : script.index("};")]
    assert re.findall(r"^  (\w+)[:,]", table, re.M) == list(LIKELIHOODS)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_description_has_the_numbers_of_its_family(name):
    family = LIKELIHOODS[name]((1, 2, 2), 17)
    described = describe_likelihood(family)
    numbers = dict(family.named_parameters()) | dict(family.named_buffers())
    assert described["levels"] == 17 and described["by_levels"] is False
    assert described["family"] == name and described["numbers"].keys() == numbers.keys()


def test_a_family_of_the_users_own_is_refused():
    class Own(LIKELIHOODS["laplace"]):
        """A family that the page does not know."""

    with pytest.raises(ValueError, match="families of the package only, got Own"):
        describe_likelihood(Own((1, 2, 2), 17))
