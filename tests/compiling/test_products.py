"""The library of each matrix product: measured, kept, and what a resumed run goes by.

Inductor is imported where it is needed, since that takes seconds.
"""

import shutil

import pyro
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import pyro_vae as pv
from pyro_vae.compiling import products
from pyro_vae.compiling.compiler import compile_step
from pyro_vae.compiling.products import choose, products_of_graph
from tests.support.programs import images, model
from tests.support.training import through_a_file

LABELS = torch.arange(40) % 3
ours, aten = torch.ops.pyro_vae.product.default, torch.ops.aten


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """An empty cache folder of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pyro_vae" / "products"


def put_times(monkeypatch, **seconds):
    """A clock by which each library takes so long; returns what it was asked to time."""
    asked = []

    def timed(multiply, a, b):
        library = next(name for name, each in products.LIBRARIES.items() if each is multiply)
        asked.append(products.product_name(a, b))
        return seconds[library]

    monkeypatch.setattr(products, "_timed", timed)
    return asked


@pytest.fixture(scope="module")
def graph():
    """The captured loss of a small model: four linear layers."""
    run = pv.fit(model(), images(), engine="compiled", batch_size=40)
    captured, _ = run.engine.capture(run.draw_epoch())
    return captured.graph.graph


def libraries(graph, known=None):
    return set(choose(products_of_graph(graph), {} if known is None else known).values())


@pytest.mark.parametrize("slow, fast", [("mm", "onednn"), ("onednn", "mm")])
def test_the_faster_library_is_chosen_once(graph, own_cache, monkeypatch, slow, fast):
    """The next training finds it in the user's cache, and asks no clock."""
    asked = put_times(monkeypatch, **{slow: 2.0, fast: 1.0})
    assert libraries(graph) == {fast}
    count = len(asked)
    assert count >= 2 * products.ROUNDS * len(set(asked)) > 0
    put_times(monkeypatch, **{slow: 1.0, fast: 2.0})
    assert libraries(graph) == {fast}
    assert len(asked) == count


def test_what_is_known_stays_and_the_rest_is_measured(graph, own_cache, monkeypatch):
    put_times(monkeypatch, mm=2.0, onednn=1.0)
    whole = choose(products_of_graph(graph), {})
    one = {min(whole): "mm"}
    assert len(whole) > 1 and choose(products_of_graph(graph), one) == whole | one


def test_timing_leaves_the_noise_alone(graph, own_cache):
    before = torch.get_rng_state()
    assert choose(products_of_graph(graph), {})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_cache_is_measured_again(graph, own_cache, monkeypatch):
    put_times(monkeypatch, mm=2.0, onednn=1.0)
    assert libraries(graph) == {"onednn"}
    (file,) = own_cache.iterdir()
    file.write_bytes(b"no archive")
    put_times(monkeypatch, mm=1.0, onednn=2.0)
    assert libraries(graph) == {"mm"}
    file.unlink()
    file.mkdir()  # which can be neither read nor written
    assert libraries(graph) == {"mm"}


@pytest.mark.parametrize("vendor", ["GenuineIntel", "AuthenticAMD"])
def test_a_run_from_before_goes_by_the_rule_of_then(graph, monkeypatch, vendor):
    """On AMD's processors oneDNN took large products; elsewhere a BLAS added the biases as well."""
    monkeypatch.setattr(products.Path, "exists", lambda path: True)
    monkeypatch.setattr(products.Path, "read_text", lambda path: f"vendor_id : {vendor}")
    monkeypatch.setattr(products, "LARGE", 40 * 16 * 8)
    chosen = choose(products_of_graph(graph), None)
    large = {name for name, library in chosen.items() if library == "onednn"}
    of_first_and_last = {
        "40x16x8nt",
        "40x8x16nn",
        "8x40x16tn",
        "40x8x16nt",
        "40x16x8nn",
        "16x40x8tn",
    }
    assert large == (of_first_and_last if vendor == "AuthenticAMD" else set())
    assert {chosen[name] for name in chosen if name not in large} == {"blas, with its bias"}


def prepared(state=None):
    """A training that is ready for its first step."""
    run = pv.fit(model(), images(), engine="compiled", batch_size=40, epochs=3)
    if state is not None:
        run.restore(state)
    run.prepare()
    return run


@pytest.mark.slow
def test_a_resumed_run_keeps_its_choice_whatever_the_cache_says(
    no_inductor, own_cache, monkeypatch
):
    """A run whose checkpoint holds no choice goes by the rule of then, and keeps that."""
    put_times(monkeypatch, mm=2.0, onednn=1.0)
    state = through_a_file(prepared().state())
    shutil.rmtree(own_cache)
    put_times(monkeypatch, mm=1.0, onednn=2.0)
    assert set(prepared().state()["libraries"].values()) == {"mm"}  # and so says the cache now
    assert set(state["libraries"].values()) == {"onednn"}
    assert prepared(state).state()["libraries"] == state["libraries"]
    del state["libraries"]
    assert set(prepared(state).state()["libraries"].values()) == {"blas, with its bias"}


def targets(chosen):
    """The operators of a product, alone and with a bias, after all passes of inductor's."""
    from torch._inductor import config
    from torch._inductor.fx_passes.post_grad import post_grad_passes
    from torch._inductor.virtualized import V

    from pyro_vae.compiling.graph_pass import GraphPass

    def multiplied(bias, a, b):
        return a @ b, torch.addmm(bias, a, b)

    chosen = config.patch(post_grad_custom_post_pass=GraphPass({"2x3x4nn": chosen}))
    with FakeTensorMode() as mode, V.set_fake_mode(mode), chosen:
        example = torch.empty(4), torch.empty(2, 3), torch.empty(3, 4)
        module = make_fx(multiplied)(*example)
        post_grad_passes(module, is_inference=False)
    module.graph.lint()
    return [node.target for node in module.graph.nodes if node.op == "call_function"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen, expected",
    [
        ("onednn", [ours, ours, aten.add.Tensor]),
        ("mm", [aten.mm.default, aten.mm.default, aten.add.Tensor]),
        ("blas, with its bias", [aten.mm.default, aten.addmm.default]),
    ],
)
def test_a_product_goes_to_its_library(chosen, expected):
    assert targets(chosen) == expected


@pytest.mark.slow
def test_the_choice_is_part_of_inductors_key():
    from pyro_vae.compiling.graph_pass import GraphPass

    one, other = (GraphPass({"2x3x4nn": name}).uuid() for name in products.LIBRARIES)
    assert one != other
    options = compile_step(lambda: None, torch.device("cpu"), {"2x3x4nn": "mm"}).options
    assert options["post_grad_custom_post_pass"].libraries == {"2x3x4nn": "mm"}


def first_step(engine):
    """The first loss and Adam's averages of the first gradients.

    Draws that are held, labels, and pixels that are drawn: all that a step can take. This step and
    that of an ensemble are the two that tests compile; everywhere else a graph is run as it is.
    """
    options = {"objective": "dreg", "num_particles": 2, "dynamic": True, "labels": LABELS}
    vae = model(conditional=3)
    run = pv.fit(vae, images() * 0.7, engine=engine, batch_size=40, epochs=1, **options)
    loss = next(run).loss
    of_adam = run.engine.adam_state().items()
    return loss, {(k, n): state[k] for n, state in of_adam for k in ("exp_avg", "exp_avg_sq")}


@pytest.mark.long
def test_machine_code_with_onednn_is_the_eager_step_to_rounding(monkeypatch, own_cache):
    """It is chosen for every product: the first loss and all first gradients, in float32."""
    from pyro_vae.compiling.graph_pass import GraphPass

    put_times(monkeypatch, mm=2.0, onednn=1.0)
    seen = []
    library = GraphPass._library
    monkeypatch.setattr(
        GraphPass, "_library", lambda *pair: seen.append(library(*pair)) or seen[-1]
    )
    with torch._inductor.config.patch(force_disable_caches=True):  # else no pass is run again
        loss, averages = first_step("compiled")
    assert len(seen) > 11 and set(seen) == {"onednn"}
    expected_loss, expected = first_step("eager")
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for name, average in averages.items():
        scale = expected[name].abs().max().item()
        assert torch.allclose(average, expected[name], rtol=0, atol=1e-5 * scale), name
    assert pyro.infer.util.is_validation_enabled()
    assert torch.distributions.Distribution._validate_args
