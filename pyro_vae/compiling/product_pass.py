"""A pass of inductor, by which the products of a graph are computed as was chosen."""

from collections.abc import Mapping

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

from pyro_vae.compiling.products import LIBRARIES, product_name

aten = torch.ops.aten


class ChosenProducts(CustomGraphPass):
    """Gives each product of a graph to its library; what nothing was chosen for stays as it is.

    It comes after inductor's own passes, one of which would put the biases back into the products.
    BLAS adds to a matrix, into which they would be copied first.

    Args:
        libraries: by the product's name.
    """

    def __init__(self, libraries: Mapping[str, str]):
        self.libraries = libraries

    def __call__(self, graph: Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=aten.mm.default):
            node.target = LIBRARIES.get(self._library(*node.args), node.target)
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            library = self._library(*node.args[1:])
            if not node.kwargs and library in LIBRARIES:
                _split(graph, node, LIBRARIES[library])

    def uuid(self) -> bytes:
        """Return the key of the pass in inductor's cache."""
        return get_hash_for_files((__file__,), repr(sorted(self.libraries.items())))

    def _library(self, a: Node, b: Node) -> str | None:
        return self.libraries.get(product_name(a.meta["val"], b.meta["val"]))


def _split(graph: Graph, node: Node, multiply: torch._ops.OpOverload) -> None:
    """Replace bias + a b by a product and a sum, which inductor fuses with what comes next."""
    bias, a, b = node.args
    with graph.inserting_before(node):
        new = graph.call_function(multiply, (a, b))
        new.meta["val"] = node.meta["val"]
    node.target, node.args = aten.add.Tensor, (new, bias)
