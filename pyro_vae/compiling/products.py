"""Matrix products of a compiled step: each by the library that is the fastest here.

PyTorch's builds multiply float32 matrices with a BLAS, such as Intel's MKL, and contain oneDNN as
well. Which of the two is faster depends on the processor, the threads and the shape, so that both
are timed. They round differently: what was chosen stays with the run in its checkpoints, and with
the machine in the user's cache folder.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import Graph

from pyro_vae.kept import cache_file, kept

SECONDS, ROUNDS = 0.02, 5  # a product is timed for so long, and for so many rounds at least
LARGE = 2**23  # multiplications, from which on oneDNN was taken before products were timed

Products = dict[str, tuple[Tensor, Tensor]]  # the factors, on the device `meta`, by name


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the product of a (n, k) and b (k, m) by oneDNN, (n, m), to float32 rounding.

    It is an operator of our own, since inductor accepts oneDNN's for weights that never change only.
    """
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")


OPERATORS = torch.library.Library("pyro_vae", "FRAGMENT")
OPERATORS.define("product(Tensor a, Tensor b) -> Tensor")
OPERATORS.impl("product", product, "CPU")
torch.library.register_fake(
    "pyro_vae::product", lambda a, b: a.new_empty(len(a), b.shape[1]), lib=OPERATORS
)


LIBRARIES = {  # a bias is added after the product
    "mm": torch.ops.aten.mm.default,
    "onednn": torch.ops.pyro_vae.product.default,
}


def choose(wanted: Products, known: Mapping[str, str] | None) -> dict[str, str]:
    """Return the library of each product, by its name.

    What is not known is measured, unless the user's cache has it from another training.

    Args:
        wanted: the factors of each product, by its name.
        known: the choices of before; None for a training that began when none were kept.
    """
    if known is None:
        return {name: _before(a, b) for name, (a, b) in wanted.items()}
    new = {name: pair for name, pair in wanted.items() if name not in known}
    if not new or not torch.backends.mkldnn.is_available():
        return dict(known)
    mark = repr(
        (_processor(), torch.__version__, torch.get_num_threads(), sorted(new), SECONDS, *LIBRARIES)
    )
    file = cache_file("products", mark)
    measured = kept(file, mark, lambda: {name: fastest(*pair) for name, pair in new.items()})
    return {**known, **{name: str(library) for name, library in measured.items()}}


def products_of_graph(graph: Graph) -> Products:
    """Return the factors of the float32 products of a captured loss on a CPU and of its gradients."""
    found: Products = {}
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default):
        outputs, inputs = (each.meta["val"] for each in (node, node.args[0]))
        if outputs.device.type != "cpu" or outputs.dtype != torch.float32:
            continue
        k, m = inputs.shape[-1], outputs.shape[-1]
        found |= products_of_layer(outputs.numel() // m, k, m)
    return found


def products_of_layer(rows: int, inputs: int, outputs: int) -> Products:
    """Return the factors of a linear layer's three products, on the device `meta`, by their names.

    They are the forward one, and those of the gradients of its input and weights.
    """
    sizes = (rows, inputs), (outputs, inputs), (rows, outputs)
    x, weight, gradient = (torch.empty(size, device="meta") for size in sizes)
    pairs = (x, weight.t()), (gradient, weight), (gradient.t(), x)
    return {product_name(a, b): (a, b) for a, b in pairs}


def product_name(a: Tensor, b: Tensor) -> str:
    """Return the sizes (n, k, m) of a product of matrices, and which of them is transposed."""
    layout = "".join("t" if x.stride(0) == 1 else "n" for x in (a, b))
    return f"{len(a)}x{len(b)}x{b.shape[1]}{layout}"


def fastest(a: Tensor, b: Tensor) -> str:
    """Return the library that computes a product of such matrices in the shortest time."""
    a, b = (torch.empty_like(x, device="cpu").fill_(0.5) for x in (a, b))  # leaves all noise alone
    seconds: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    end = time.perf_counter() + SECONDS
    while len(seconds["mm"]) < ROUNDS or time.perf_counter() < end:
        for library, multiply in LIBRARIES.items():
            seconds[library].append(_timed(multiply, a, b))
    return min(seconds, key=lambda library: min(seconds[library]))


def _timed(multiply, a: Tensor, b: Tensor) -> float:
    start = time.perf_counter()
    multiply(a, b)
    return time.perf_counter() - start


def _before(a: Tensor, b: Tensor) -> str:
    """Return the library by the rule that was used before products were timed."""
    large = a.numel() * b.shape[1] >= LARGE
    return "onednn" if large and "AuthenticAMD" in _processor() else "blas, with its bias"


def _processor() -> str:
    """Return what tells the model of a processor from others."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    told = ("vendor_id", "cpu family", "model", "stepping")
    return "; ".join(sorted({line for line in lines if line.startswith(told)}))
