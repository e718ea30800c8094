"""A pass over inductor's graph: which library computes a product, and how images are stored."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.inductor_prims import force_stride_order as STORE
from torch.fx import Graph, Node

from pyro_vae.compiling.products import LIBRARIES, product_name

aten = torch.ops.aten
READ = {aten.convolution.default: (0,), aten.convolution_backward.default: (0, 1)}  # its images
FEW = 16  # channels, under which a vector would be partly empty
BY_STRIDES = ("aten.as_strided", "aten.resize", "aten.view_as_complex", "aten.view.dtype")


class GraphPass(CustomGraphPass):
    """Gives each product of a graph to its library, and arranges the images of convolutions.

    It comes after inductor's own passes, one of which would put the biases back into the products.
    BLAS adds to a matrix, into which they would be copied first.

    Args:
        libraries: by the product's name; what nothing was chosen for stays as it is.
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
        # Earlier versions may overwrite what another loop still reads (pytorch's issue 177631).
        if torch.__version__ >= (2, 14):
            arrange_images(graph)

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


def arrange_images(graph: Graph) -> None:
    """Store images with their channels last where convolutions read them, else with them first.

    oneDNN convolves with the channels last. Inductor's loops between two convolutions go by the
    order in which images were traced, and would transpose them there and back. The likelihood reads
    the pixels of the data, whose channels are first, beside the result of the last convolution in
    the graph. Operators whose result depends on strides get those that were traced. Inputs of the
    graph belong to the caller and stay; of few channels, so do images whose gradient is asked for,
    which would be transposed too.
    """
    for node in [n for n in graph.nodes if str(n.target).startswith(BY_STRIDES)]:
        _store(graph, node.args[0], node.args[0].meta["val"], [node])
    convolutions = [node for node in graph.nodes if node.target in READ and _is_image(node.args[0])]
    for node in convolutions:
        for place in READ[node.target]:
            images = node.args[place]
            value = images.meta["val"]
            if value.shape[1] >= FEW:
                readers = list(images.users)
            elif value.shape[1] > 1 and not _has_gradient(images):
                readers = [n for n in images.users if n.target in READ]
            else:
                continue
            _store(graph, images, value.contiguous(memory_format=torch.channels_last), readers)
    forward = [node for node in convolutions if node.target is aten.convolution.default]
    for node in forward[-1:]:
        _store(graph, node, node.meta["val"].contiguous(), list(node.users))


def _is_image(node: Node) -> bool:
    return node.meta["val"].dim() == 4


def _has_gradient(images: Node) -> bool:
    backward = aten.convolution_backward.default
    return any(n.target is backward and n.args[1] is images and n.args[10][0] for n in images.users)


def _store(graph: Graph, images: Node, value: Tensor, readers: list[Node]) -> None:
    """Let the readers of images have them in the order of a tensor."""
    if images.op == "placeholder" or images.target is STORE:
        return
    with graph.inserting_after(images):
        stored = graph.call_function(STORE, (images, value.stride()))
    stored.meta["val"] = value
    for reader in readers:
        if reader.target is not STORE:
            reader.replace_input_with(images, stored)
