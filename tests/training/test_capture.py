"""What is captured as a graph, and what cannot be."""

import pytest

import pyro_vae as pv
from tests.support.programs import (
    Branching,
    Choosy,
    Counting,
    Dropping,
    Pausing,
    Straying,
    Warping,
    model,
)
from tests.support.training import assert_same_weights, trained


@pytest.mark.slow
@pytest.mark.parametrize("network, hidden", [("linear", None), ("conv", (4,)), ("mlp", (8, 6))])
def test_every_network_is_captured(no_inductor, network, hidden):
    options = {"network": network, "hidden": hidden}
    _, weights = trained(model(**options), engine="compiled", epochs=10)
    _, expected = trained(model(**options), engine="eager", epochs=10)
    assert_same_weights(weights, expected, 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("engine, tolerance", [("svi", 1e-7), ("eager", 1e-10)])
def test_an_autoencoder_is_captured(no_inductor, engine, tolerance):
    _, weights = trained(model(kind=pv.Autoencoder), engine="compiled", epochs=10)
    _, expected = trained(model(kind=pv.Autoencoder), engine=engine, epochs=10)
    assert_same_weights(weights, expected, tolerance)


@pytest.mark.slow
def test_a_users_own_programs_are_captured(no_inductor):
    _, weights = trained(model(kind=Warping), engine="compiled", epochs=10)
    _, expected = trained(model(kind=Warping), engine="eager", epochs=10)
    assert_same_weights(weights, expected, 1e-10)
    assert expected["shift"].abs().min() > 0


@pytest.mark.slow
def test_what_has_no_gradient_gets_none(no_inductor):
    """A block under `torch.no_grad`, whose tensors have a gradient outside of it."""
    _, weights = trained(model(kind=Pausing), engine="compiled", epochs=10)
    _, expected = trained(model(kind=Pausing), engine="eager", epochs=10)
    assert_same_weights(weights, expected, 1e-10)


@pytest.mark.slow
def test_single_precision_is_captured(no_inductor):
    """Losses of the first epoch, to rounding."""
    (record,), _ = trained(model(), engine="compiled", precision="float32", epochs=1)
    (expected,), _ = trained(model(), engine="eager", precision="float32", epochs=1)
    assert record.loss == pytest.approx(expected.loss, rel=1e-6)


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
