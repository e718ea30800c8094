"""Networks of any image size."""

import pytest
import torch

from pyro_vae.models.networks import ACTIVATIONS, NETWORKS

SIZES = {"linear": (), "mlp": (6, 5), "conv": (3, 4)}


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (1, 28, 28), (2, 4, 33), (1, 5, 4)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_come_from_the_image(name, activation, shape):
    network, hidden = NETWORKS[name], SIZES[name]
    network.check(shape, hidden)
    encoder = network.encoder(shape, 7, hidden, activation)
    decoder = network.decoder(2, (5, *shape[1:]), hidden, activation)
    assert encoder(torch.randn(3, *shape)).shape == (3, 7)
    assert decoder(torch.randn(3, 2)).shape == (3, 5, *shape[1:])


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
        ("conv", (1, 7, 9), (4, 4, 4), "7 pixels allow 1 to 2 of them, got 3"),
    ],
)
def test_what_cannot_be_built_is_refused(name, shape, hidden, message):
    with pytest.raises(ValueError, match=message):
        NETWORKS[name].check(shape, hidden)
