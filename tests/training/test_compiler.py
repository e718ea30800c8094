"""Compiled steps, the short way to them, and oneDNN's products."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import pyro_vae as pv
from pyro_vae.training import compiler, onednn
from pyro_vae.training.compiler import compile_step
from pyro_vae.training.step import of_its_own
from tests.support.programs import images, model


def counted(monkeypatch):
    """How often Dynamo is asked."""
    asked = []
    compile = torch.compile

    def compiled(step, **options):
        traced = compile(step, **options)
        return lambda *args: asked.append(1) or traced(*args)

    monkeypatch.setattr(torch, "compile", compiled)
    return asked


def step(learned, scale, rows, noise):
    """Changes what was learned in place, and returns a number of before."""
    before = learned[0].sum() + noise[0].sum()
    learned[0].add_(scale * rows.sum())
    learned[1].mul_(2)
    return before


@pytest.mark.slow
def test_a_step_goes_through_dynamo_once(monkeypatch):
    """And does the same after that, with other tensors in the same places and in other lists."""
    asked = counted(monkeypatch)
    fast = compile_step(of_its_own(step), torch.device("cpu"))
    learned = [torch.ones(3), torch.ones(2)]
    plain = [t.clone() for t in learned]
    noise, scale = [torch.zeros(2)], torch.tensor(0.5)
    for n in range(4):
        rows = torch.arange(n + 3.0)[:3]
        noise[0].fill_(n)
        assert torch.equal(fast(learned, scale, rows, noise), step(plain, scale, rows, noise))
        assert all(map(torch.equal, learned, plain))
    others, plain = [torch.zeros(3), torch.ones(2)], [torch.zeros(3), torch.ones(2)]
    for factor in (2.0, 3.0):  # another list, and then another tensor beside it
        scale = torch.tensor(factor)
        assert torch.equal(fast(others, scale, rows, noise), step(plain, scale, rows, noise))
        assert all(map(torch.equal, others, plain))
    assert asked == [1]
    assert learned[0][0] != others[0][0]


@pytest.mark.slow
def test_a_step_may_use_tensors_of_its_own():
    """As a captured graph does that holds the nodes of a quadrature."""
    held = torch.nn.Module()
    held.register_buffer("nodes", torch.arange(3.0))

    def fixed(learned, rows):
        learned[0].add_(held.nodes * rows)
        return learned[0].sum()

    fast = compile_step(of_its_own(fixed), torch.device("cpu"))
    learned = [torch.zeros(3)]
    found = [fast(learned, torch.full((3,), float(n))).item() for n in range(4)]
    assert found == [0, 3, 9, 18]


@pytest.mark.slow
def test_a_step_may_return_nothing_and_leave_an_argument_alone():
    """And a step of another size is compiled for that size, whatever was compiled before it."""

    def quiet(learned, unused, rows):
        learned[0].add_(rows)

    for size in (2, 3):
        fast = compile_step(of_its_own(quiet), torch.device("cpu"))
        learned = [torch.zeros(size)]
        for n in range(3):
            assert fast(learned, torch.tensor(float(n)), torch.ones(size)) is None
        assert learned[0].tolist() == [3] * size


@pytest.mark.parametrize("triton, missing", [(True, None), (False, "no Triton")])
def test_a_gpu_needs_triton(monkeypatch, triton, missing):
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: triton or None)
    assert compiler.missing_compiler("cuda") == missing


def test_a_compiled_step_on_a_gpu_is_recorded_once(monkeypatch):
    """Inductor's own graphs, which the environment may ask for, would be inside of ours."""
    said = []
    monkeypatch.setattr(torch, "compile", lambda step, **options: said.append(options))
    compile_step(step, torch.device("cuda", 0))
    assert said[0]["options"]["triton.cudagraphs"] is False
    assert said[0]["dynamic"] is False


# --- oneDNN ----------------------------------------------------------------------------------------


def first_step(engine):
    """The first loss and Adam's averages of the first gradients."""
    run = pv.fit(model(), images(), engine=engine, batch_size=40, epochs=1)
    loss = next(run).loss
    return loss, {name: state["exp_avg"] for name, state in run.engine.adam_state().items()}


@pytest.mark.slow
def test_onednn_changes_no_more_than_rounding(monkeypatch, tmp_path):
    """The switch on for every product: the first loss and all first gradients, in float32."""
    asked, is_large = [], onednn._is_large

    def noted(a, b):
        asked.append((a, b))
        return is_large(a, b)

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # what is cached is not compiled
    monkeypatch.setattr(onednn, "ONEDNN", True)
    monkeypatch.setattr(onednn, "LARGE", 0)
    monkeypatch.setattr(onednn, "_is_large", noted)
    loss, averages = first_step("compiled")
    assert len(asked) == 4 + 7  # one per layer, and twice for gradients, but for the images'
    expected_loss, expected = first_step("eager")
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for name, average in averages.items():
        scale = expected[name].abs().max().item()
        assert torch.allclose(average, expected[name], rtol=0, atol=1e-5 * scale), name


@pytest.mark.parametrize("switch", [False, True])
def test_onednn_takes_part_where_it_is_switched_on(monkeypatch, switch):
    monkeypatch.setattr(onednn, "ONEDNN", switch)
    options = compile_step(step, torch.device("cpu")).options
    assert ("post_grad_custom_pre_pass" in options) == switch


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
