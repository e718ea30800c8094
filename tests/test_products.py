"""oneDNN's products: the same to rounding, and only where they pay."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import pyro_vae as pv
from pyro_vae.training import onednn as products
from tests.programs import images, model


def test_onednn_changes_no_more_than_rounding(monkeypatch, tmp_path):
    """The switch on for every product: the first loss and all first gradients, in float32."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # what is cached is not compiled
    monkeypatch.setattr(products, "LARGE", 0)
    moments, taken, split = [], [], products._is_large
    monkeypatch.setattr(products, "_is_large", lambda *ab: taken.append(ab) or split(*ab))
    for switch in (True, False):
        monkeypatch.setattr(products, "ONEDNN", switch)
        run = pv.fit(model(), images(), engine="compiled", batch_size=40, epochs=1)
        moments.append((next(run).loss, run.engine.averages))
    assert len(taken) == 4 + 7  # one per layer, and twice for gradients, but for the images'
    (loss, ours), (other, theirs) = moments
    assert loss == pytest.approx(other, rel=1e-6)
    for name, average in ours.items():
        scale = theirs[name].abs().max().item()
        assert torch.allclose(average, theirs[name], rtol=0, atol=1e-5 * scale), name


def test_onednn_takes_large_products_only():
    def targets(n, k, m):
        def products_of(bias, a, b):
            return a @ b, torch.addmm(bias, a, b)

        with FakeTensorMode():
            example = torch.empty(m), torch.empty(n, k), torch.empty(k, m)
            graph = make_fx(products_of)(*example).graph
        products.OneDnnProducts()(graph)
        graph.lint()
        return [n.target for n in graph.nodes if n.op == "call_function"]

    ours, aten = torch.ops.pyro_vae.product.default, torch.ops.aten
    assert targets(128, 784, 400) == [ours, ours, aten.add.Tensor]
    assert targets(64, 64, 128) == [aten.mm.default, aten.addmm.default]


@pytest.mark.parametrize("vendor, amd", [("GenuineIntel", False), ("AuthenticAMD", True)])
def test_the_processor_is_read_from_the_system(monkeypatch, vendor, amd):
    monkeypatch.setattr(products.Path, "exists", lambda self: True)
    monkeypatch.setattr(products.Path, "read_text", lambda self: f"vendor_id : {vendor}")
    assert products.is_amd() == amd
