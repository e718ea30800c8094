"""Networks of any image size."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from pyro_vae.models.networks import (
    ACTIVATIONS,
    INITIALISATIONS,
    NETWORKS,
    PixelHead,
    Residual,
)

SIZES = {"linear": (), "mlp": (6, 5), "conv": (3, 4), "resnet": (16, 4)}


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (1, 28, 28), (2, 4, 33), (1, 5, 4)])
def test_sizes_come_from_the_image(shape):
    for name, activation in itertools.product(NETWORKS, ACTIVATIONS):
        network, hidden = NETWORKS[name], SIZES[name]
        network.check(shape, hidden)
        encoder = network.encoder(shape, 7, hidden, activation)
        decoder = network.decoder(2, (5, *shape[1:]), hidden, activation)
        assert encoder(torch.randn(3, *shape)).shape == (3, 7), name
        assert decoder(torch.randn(3, 2)).shape == (3, 5, *shape[1:]), name


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_the_decoder_mirrors_the_encoder():
    """784-400-200-7 and 2-200-400-784: counted by hand."""
    mlp, hidden = NETWORKS["mlp"], (400, 200)
    encoder = mlp.encoder((1, 28, 28), 7, hidden, "relu")
    decoder = mlp.decoder(2, (1, 28, 28), hidden, "relu")
    assert parameters(encoder) == 785 * 400 + 401 * 200 + 201 * 7
    assert parameters(decoder) == 3 * 200 + 201 * 400 + 401 * 784


def test_no_network_has_buffers():
    """Running statistics would change while a program is captured, and under MCMC."""
    for name, network in NETWORKS.items():
        encoder = network.encoder((1, 8, 8), 4, SIZES[name], "relu")
        assert not list(encoder.buffers())


@pytest.mark.parametrize("name", ["mlp", "conv", "resnet"])
def test_gated_layers_are_a_product_of_two(name):
    """The second layer applied: A h times the sigmoid of B h, A and B being halves of its weight."""
    network = NETWORKS[name].encoder((2, 8, 8), 4, SIZES[name], "gated")
    weighted = (nn.Linear, nn.Conv2d)
    place = [k for k, layer in enumerate(network) if isinstance(layer, weighted)][1]
    layer, h = network[place], network[:place](torch.randn(3, 2, 8, 8))
    size = SIZES[name][1]
    assert layer.weight.shape[:2] == (2 * size, SIZES[name][0])
    a, b = copy.deepcopy(layer), copy.deepcopy(layer)
    for half, rows in ((a, slice(size)), (b, slice(size, None))):
        half.weight.data, half.bias.data = layer.weight.data[rows], layer.bias.data[rows]
    found = network[place + 1](layer(h))
    assert torch.allclose(found, a(h) * torch.sigmoid(b(h)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("channels, groups", [(4, 1), (48, 3)])
def test_a_residual_block_adds_to_its_input_what_groups_of_channels_give(channels, groups):
    block, h = Residual(channels, "relu"), 5 + 3 * torch.randn(6, channels, 3, 4)
    first, _, _, last = block.change
    normal = first(h).view(6, groups, -1)  # of each image on its own
    assert torch.allclose(normal.mean(-1), torch.zeros(6, groups), atol=1e-6)
    assert torch.allclose(normal.var(-1, correction=0), torch.ones(6, groups), atol=1e-5)
    assert (block(h) - h).abs().max() > 0.1
    for p in last.parameters():
        p.data.zero_()
    assert torch.equal(block(h), h)


@pytest.mark.parametrize("name", NETWORKS)
def test_glorots_weights_have_his_variance_and_no_biases(name):
    """Uniform within sqrt(6 / (fan in + fan out)): the mean square within 5 standard errors."""
    network, hidden = NETWORKS[name], (() if name == "linear" else (64, 48))
    for part in (
        network.encoder((3, 8, 8), 40, hidden, "relu"),
        network.decoder(20, (3, 8, 8), hidden, "relu"),
    ):
        part.apply(INITIALISATIONS["glorot"])
        for layer in part.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                weight = layer.weight.detach()
                bound = math.sqrt(6 / (sum(weight.shape[:2]) * math.prod(weight.shape[2:])))
                assert weight.abs().max() <= bound * (1 + 1e-6)  # rounding
                error = math.sqrt(4 / 45 / weight.numel())  # of the mean of u^2 of a uniform u
                assert abs((weight / bound).square().mean() - 1 / 3) < 5 * error
                assert not layer.bias.any()


@pytest.mark.parametrize("shape", [(5, 4, 6), (2, 5, 4, 6)])
def test_a_head_is_the_same_linear_map_at_every_pixel(shape):
    head, features = PixelHead(5, 3), torch.randn(2, *shape)
    expected = torch.einsum("of,...fhw->...ohw", head.weight, features)
    found = head(features)
    assert torch.allclose(found, expected + head.bias.view(3, 1, 1), atol=1e-6)


def test_a_linear_network_is_affine():
    encoder = NETWORKS["linear"].encoder((1, 4, 4), 3, (), "relu")
    a, b = torch.randn(2, 1, 1, 4, 4).unbind()
    middle = encoder((a + b) / 2)
    assert torch.allclose(middle, (encoder(a) + encoder(b)) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "name, shape, hidden, message",
    [
        ("linear", (1, 8, 8), (4,), "no hidden layers"),
        ("conv", (1, 8, 8), (), "1 to 3 of them, got 0"),
        ("resnet", (1, 7, 9), (4, 4, 4), "7 pixels allow 1 to 2 of them, got 3"),
    ],
)
def test_what_cannot_be_built_is_refused(name, shape, hidden, message):
    with pytest.raises(ValueError, match=message):
        NETWORKS[name].check(shape, hidden)
