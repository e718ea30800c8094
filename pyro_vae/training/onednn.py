"""Large matrix products by oneDNN, on processors where PyTorch's own BLAS is slow.

PyTorch's builds multiply float32 matrices with Intel's MKL. On AMD processors MKL takes about
twice as long for large products as oneDNN, which the same builds contain. Small products do not
repay the dispatch to oneDNN. On Intel's processors MKL is the faster of the two.
"""

import platform
from pathlib import Path

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

aten = torch.ops.aten

LARGE = 2**23  # multiplications, as for 128 images and a layer of 256 x 256


def is_amd() -> bool:
    """Return whether this is an AMD processor."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else platform.processor()
    return "AuthenticAMD" in text


# Set this before training to switch oneDNN on or off.
ONEDNN = torch.backends.mkldnn.is_available() and is_amd()


@torch.library.custom_op("pyro_vae::product", mutates_args=())
def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of a (n, k) and b (k, m) by oneDNN, (n, m), to float32 rounding.

    It is a custom operator, since inductor accepts oneDNN's own for weights that never change only.
    """
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")


@product.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


class OneDnnProducts(CustomGraphPass):
    """A pass of inductor that gives the large matrix products of a graph to oneDNN."""

    def __call__(self, graph: Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=aten.mm.default):
            if _is_large(*node.args):
                node.target = torch.ops.pyro_vae.product.default
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            if not node.kwargs and _is_large(*node.args[1:]):
                _split(graph, node)

    def uuid(self) -> bytes:
        """Return the key of the pass in inductor's cache."""
        return get_hash_for_files((__file__,), str(LARGE))


def _is_large(a: Node, b: Node) -> bool:
    a, b = a.meta["val"], b.meta["val"]
    kind = a.device.type, a.dtype
    return kind == ("cpu", torch.float32) and a.numel() * b.shape[1] >= LARGE


def _split(graph: Graph, node: Node) -> None:
    """Replace bias + a b by a product and a sum, which inductor fuses with what comes next."""
    bias, a, b = node.args
    with graph.inserting_before(node):
        new = graph.call_function(torch.ops.pyro_vae.product.default, (a, b))
        new.meta["val"] = node.meta["val"]
    node.target, node.args = aten.add.Tensor, (new, bias)
