"""What is captured as a graph, and what cannot be."""

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.training.capture import capture
from pyro_vae.training.objectives import OBJECTIVES, Loss
from tests.support.programs import (
    Branching,
    Choosy,
    Counting,
    Dropping,
    Pausing,
    Straying,
    Warping,
    Weighing,
    images,
    model,
)
from tests.support.training import assert_same_weights, trained


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"network": "linear", "hidden": None},
        {"network": "conv", "hidden": (4,)},
        {"hidden": (8, 6)},
        {"kind": pv.Autoencoder},
        {"kind": Warping},
        {
            "kind": Pausing
        },  # has a block under `torch.no_grad`, whose tensors have gradients outside
    ],
    ids=["linear", "conv", "mlp", "autoencoder", "own programs", "no gradient"],
)
def test_what_is_captured_trains_as_eager(no_inductor, options):
    _, weights = trained(model(**options), engine="compiled", epochs=10)
    _, expected = trained(model(**options), engine="eager", epochs=10)
    assert_same_weights(weights, expected, 1e-10)
    assert options.get("kind") is not Warping or expected["shift"].abs().min() > 0


class Noisy(nn.Module):
    """A layer that adds noise in one of torch's four ways to draw it."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        like = self.draw in (torch.rand_like, torch.randn_like)
        return x + 0.1 * (self.draw(x) if like else self.draw(x.shape, dtype=x.dtype))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [torch.rand, torch.randn, torch.rand_like, torch.randn_like])
def test_noise_of_a_layer_of_ones_own_is_that_of_eager(no_inductor, draw):
    def weights(engine):
        vae = model()
        vae.encoder = nn.Sequential(vae.encoder, Noisy(draw))
        return trained(vae, engine=engine, epochs=3)[1]

    assert_same_weights(weights("compiled"), weights("eager"), 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, reason",
    [
        (Counting, "changes buffers"),
        (Dropping, "expected standard Normal or uniform draws only, got aten.bernoulli"),
        (Branching, "torch cannot export it"),
        (Choosy, "guide: k has no reparameterised draws; use the engine svi"),
        (Straying, "param: mine is none of the model's; use the engine svi"),
    ],
)
def test_what_cannot_be_captured_is_refused(no_inductor, kind, reason):
    with pytest.raises(ValueError, match=f"engine: .*{reason}"):
        trained(model(kind=kind), engine="compiled")


@pytest.mark.slow
def test_constants_are_where_the_images_are():
    """A constant on the CPU could not be copied while a GPU records; `meta` stands for a GPU here."""
    loss = Loss(model(kind=Weighing).to("meta"), OBJECTIVES["elbo"])
    graph = capture(loss, images().float().to("meta")).graph
    assert {constant.device.type for constant in graph.buffers()} == {"meta"}


@pytest.mark.slow
def test_no_tensor_of_a_categorical_has_all_logits():
    """The largest is that of the features: eight numbers per pixel, where there are 256 levels."""
    vae = model("categorical", levels=256)
    nodes = capture(Loss(vae, OBJECTIVES["elbo"]), images(500)).graph.graph.nodes
    tensors = [node.meta["val"] for node in nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    assert max(t.numel() for t in tensors) == 8 * images(500).numel()
