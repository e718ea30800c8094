"""oneDNN's products: the same to rounding, and only where they pay."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import pyro_vae as pv
from pyro_vae.training import onednn
from tests.support.programs import images, model


def compiled_step(monkeypatch, switch):
    """The first loss and Adam's averages of the first gradients, with oneDNN or without."""
    monkeypatch.setattr(onednn, "ONEDNN", switch)
    run = pv.fit(model(), images(), engine="compiled", batch_size=40, epochs=1)
    return next(run).loss, run.engine.averages


@pytest.mark.slow
def test_onednn_changes_no_more_than_rounding(monkeypatch, tmp_path):
    """The switch on for every product: the first loss and all first gradients, in float32."""
    asked, is_large = [], onednn._is_large

    def noted(a, b):
        asked.append((a, b))
        return is_large(a, b)

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # what is cached is not compiled
    monkeypatch.setattr(onednn, "LARGE", 0)
    monkeypatch.setattr(onednn, "_is_large", noted)
    loss, averages = compiled_step(monkeypatch, True)
    assert len(asked) == 4 + 7  # one per layer, and twice for gradients, but for the images'
    expected_loss, expected = compiled_step(monkeypatch, False)
    assert len(asked) == 4 + 7
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for name, average in averages.items():
        scale = expected[name].abs().max().item()
        assert torch.allclose(average, expected[name], rtol=0, atol=1e-5 * scale), name


def targets(n, k, m):
    """The operators for an (n, k) times a (k, m) matrix, without and with a bias, after the pass."""

    def products(bias, a, b):
        return a @ b, torch.addmm(bias, a, b)

    with FakeTensorMode():
        example = torch.empty(m), torch.empty(n, k), torch.empty(k, m)
        graph = make_fx(products)(*example).graph
    onednn.OneDnnProducts()(graph)
    graph.lint()
    return [node.target for node in graph.nodes if node.op == "call_function"]


def test_onednn_takes_large_products_only():
    ours, aten = torch.ops.pyro_vae.product.default, torch.ops.aten
    assert targets(128, 784, 400) == [ours, ours, aten.add.Tensor]
    assert targets(64, 64, 128) == [aten.mm.default, aten.addmm.default]


@pytest.mark.parametrize("vendor, amd", [("GenuineIntel", False), ("AuthenticAMD", True)])
def test_the_processor_is_read_from_the_system(monkeypatch, vendor, amd):
    monkeypatch.setattr(onednn.Path, "exists", lambda path: True)
    monkeypatch.setattr(onednn.Path, "read_text", lambda path: f"vendor_id : {vendor}")
    assert onednn.is_amd() == amd
