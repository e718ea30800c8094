"""Where convolutions are compiled, images are stored as they are read."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Interpreter
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

import pyro_vae as pv
from pyro_vae.compiling.compiler import compile_step

aten = torch.ops.aten
BATCH, COLOURS, CHANNELS, SIDE = 2, 3, 16, 8


def squared_error(weights, x):
    """An encoder and a decoder with a convolution each, and the pixels beside their result."""
    inward, back, outward = weights
    h = F.conv2d(x, inward, stride=2, padding=1).relu()
    h = (h.flatten(1) @ back).view_as(h).relu()
    return (F.conv_transpose2d(h, outward, stride=2, padding=1) - x).square().sum()


def gradients():
    """The graph of the gradients by all weights, as inductor sees it, with its inputs."""
    torch.manual_seed(0)
    units = CHANNELS * (SIDE // 2) ** 2
    shapes = (CHANNELS, COLOURS, 4, 4), (units, units), (CHANNELS, COLOURS, 4, 4)
    weights = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    x = torch.randn(BATCH, COLOURS, SIDE, SIDE, dtype=torch.float64)

    def step(images, *weights):
        return torch.func.grad(squared_error)(weights, images + 0)

    module = make_fx(step, tracing_mode="fake")(x, *weights)
    for node in module.graph.find_nodes(op="call_function", target=aten.view.default):
        node.target = aten.reshape.default  # as inductor does
    return module, [x, *weights]


class Watched(Interpreter):
    """A run of a graph that keeps what each operator was given."""

    def run_node(self, node):
        args, _ = self.fetch_args_kwargs_from_env(node)
        self.seen = [*getattr(self, "seen", []), (node.target, args)]
        return super().run_node(node)


@pytest.mark.slow
def test_convolutions_read_channels_last_and_the_likelihood_reads_them_first():
    from pyro_vae.compiling.graph_pass import READ, STORE, arrange_images

    module, inputs = gradients()
    expected = module(*inputs)
    arrange_images(module.graph)
    module.graph.lint()
    module.recompile()
    run = Watched(module)
    for found, gradient in zip(run.run(*inputs), expected):
        assert torch.allclose(found, gradient, rtol=1e-12)
    given = [args[place] for target, args in run.seen for place in READ.get(target, ())]
    assert len(given) == 2 + 2 * 2
    for images in given:
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert not images.is_contiguous()
    *_, (pixels, x) = (args[:2] for target, args in run.seen if target is aten.sub.Tensor)
    assert pixels.is_contiguous() and x.is_contiguous()
    stored = [node for node in module.graph.nodes if node.target is STORE]
    assert len(stored) == 5  # x, what the decoder reads, two gradients, and the result


@pytest.mark.slow
def test_without_convolutions_of_images_nothing_is_stored():
    from pyro_vae.compiling.graph_pass import arrange_images

    def others(x, weight):
        return F.conv1d(x[..., 0], weight), x.square()

    module = make_fx(others, tracing_mode="fake")(torch.ones(2, 3, 8, 8), torch.ones(4, 3, 3))
    before = module.code
    arrange_images(module.graph)
    module.recompile()
    assert module.code == before


def passed(function, *example):
    """The graph of a function after all passes of inductor's, with ours for no products."""
    from torch._inductor import config
    from torch._inductor.fx_passes.post_grad import post_grad_passes
    from torch._inductor.virtualized import V

    options = compile_step(function, torch.device("cpu")).options
    graph_pass = options["post_grad_custom_post_pass"]
    own = config.patch(post_grad_custom_post_pass=graph_pass)
    with FakeTensorMode() as mode, V.set_fake_mode(mode), own:
        module = make_fx(function)(*(torch.empty(shape) for shape in example))
        post_grad_passes(module, is_inference=True)
    return module.graph


def between(x, inward, back):
    h = F.conv2d(x + 0, inward, padding=1).relu()
    return F.conv2d(h, back, padding=1), h.exp()


WEIGHTS = (CHANNELS, COLOURS, 3, 3), (COLOURS, CHANNELS, 3, 3)


@pytest.mark.slow
def test_every_compiled_step_has_its_images_arranged():
    """Also what reads an image of many channels beside convolutions has it as they do."""
    from pyro_vae.compiling.graph_pass import STORE

    graph = passed(between, (BATCH, COLOURS, SIDE, SIDE), *WEIGHTS)
    stored = [node for node in graph.nodes if node.target is STORE]
    if torch.__version__ < (2, 14):
        assert not stored
        return
    assert len(stored) == 3  # the data, the hidden layer, the result
    (beside,) = graph.find_nodes(op="call_function", target=aten.exp.default)
    assert beside.args[0].target is STORE
    assert beside.meta["val"].is_contiguous(memory_format=torch.channels_last)


def by_strides(x, inward, back):
    """Parts of a hidden layer by strides and as complex numbers, beside convolutions."""
    result, h = between(x, inward, back)
    windows = h.tanh().as_strided((BATCH, CHANNELS, 3), (h.stride(0), h.stride(1), 1))
    return (
        result.square().sum()
        + windows.sum()
        + torch.view_as_complex(h.unflatten(3, (-1, 2))).abs().sum()
    )


@pytest.mark.long
def test_operators_that_depend_on_strides_have_those_that_were_traced():
    """Else windows would be of other pixels, and the gradients wrong without a word."""
    torch.manual_seed(0)
    shapes = (BATCH, COLOURS, SIDE, SIDE), *WEIGHTS
    example = [torch.randn(shape, dtype=torch.float64) for shape in shapes]

    def step(x, *weights):
        gradients, value = torch.func.grad_and_value(by_strides, (1, 2))(x, *weights)
        return torch.cat([value[None], *(g.flatten() for g in gradients)])

    found = compile_step(step, torch.device("cpu"))(*example)
    assert torch.allclose(found, step(*example), rtol=1e-10)


@pytest.mark.long
def test_machine_code_of_convolutions_trains_as_the_eager_engine_does():
    """Six steps of Adam in float64, to rounding; gradients of images too, those of pseudo-inputs."""
    x = torch.rand(96, COLOURS, 16, 16, generator=torch.Generator().manual_seed(0)).round()
    trained = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        vae = pv.VAE(x.shape[1:], network="conv", hidden=(16, 32), latent_dim=4, prior="vamp")
        options = {"engine": engine, "precision": "float64", "batch_size": 32, "epochs": 2}
        losses = [record.loss for record in pv.fit(vae, x, **options)]
        trained.append([torch.tensor(losses), *(p.detach() for p in vae.parameters())])
    for one, other in zip(*trained):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-10)
