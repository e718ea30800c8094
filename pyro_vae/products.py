"""Large matrix products by oneDNN, on processors where PyTorch's own BLAS is slow.

PyTorch's builds multiply float32 matrices with Intel's MKL. On AMD processors MKL takes about
twice as long for large products as oneDNN, which the same builds contain; small ones do not repay
its dispatch, and on Intel's processors MKL is the faster of the two.
"""

import platform
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

LARGE = 2**23  # multiplications: 128 images through a layer of 256 x 256


def is_amd() -> bool:
    """Whether this is an AMD processor."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else platform.processor()
    return "AuthenticAMD" in text


# The switch: set it before training to have oneDNN, or not.
ONEDNN = torch.backends.mkldnn.is_available() and is_amd()


@torch.library.custom_op("pyro_vae::product", mutates_args=())
def product(a: Tensor, b: Tensor) -> Tensor:
    """a (n, k) times the transpose of b (m, k), by oneDNN: (n, m), to float32 rounding.

    An operator of its own, since inductor takes oneDNN's for weights that never change.
    """
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


@product.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])


def _backward(context, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = context.saved_tensors
    of_a, of_b = context.needs_input_grad
    return (
        product(gradient, b.t()) if of_a else None,
        product(gradient.t(), a.t()) if of_b else None,
    )


def _save(context, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    context.save_for_backward(*inputs)


product.register_autograd(_backward, setup_context=_save)


def use_onednn(graph: GraphModule) -> None:
    """Let oneDNN take the linear layers of a captured graph whose products are large."""
    for node in graph.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default):
        if _is_large(node):
            x, weight, *bias = node.args
            with graph.graph.inserting_before(node):
                new = graph.graph.call_function(torch.ops.pyro_vae.product.default, (x, weight))
                for each in bias:
                    new = graph.graph.call_function(torch.ops.aten.add.Tensor, (new, each))
            node.replace_all_uses_with(new)
            graph.graph.erase_node(node)
    graph.recompile()


def _is_large(node: Node) -> bool:
    x, weight = (argument.meta["val"] for argument in node.args[:2])
    kind = x.device.type, x.dtype, x.dim()
    return kind == ("cpu", torch.float32, 2) and len(x) * weight.numel() >= LARGE
