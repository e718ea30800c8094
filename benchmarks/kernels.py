"""Kernels of one training step under each engine, counted without a GPU.

    python benchmarks/kernels.py

An operator that computes is a kernel on a GPU, more or less; views and empty tensors are none. What
inductor generates is counted in its own book: here for a CPU, where it fuses a little less.
"""

from collections import Counter
from unittest import mock

import torch
from torch._inductor import metrics
from torch.utils._python_dispatch import TorchDispatchMode

import pyro_vae as pv
from pyro_vae.compiling.graph_pass import GraphPass
from pyro_vae.compiling.products import LIBRARIES
from pyro_vae.training.engines import ENGINES
from pyro_vae.training.objectives import OBJECTIVES, Loss

NOT_KERNELS = {"detach", "alias", "empty", "empty_like", "new_empty", "empty_strided", "_to_copy"}
NOT_KERNELS |= {"_assert_tensor_metadata", "_record_function_enter_new", "_record_function_exit"}
PRODUCTS = {torch.ops.aten.addmm.default, *LIBRARIES.values()}


class Counting(TorchDispatchMode):
    """Counts the operators that compute."""

    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if not function.is_view and name not in NOT_KERNELS:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


def main() -> None:
    """Print the counts as a table."""
    print("| engine | kernels of a step |\n| --- | ---: |")
    for name, count in counts().items():
        print(f"| `{name}` | {count} |")


def counts() -> dict[str, int]:
    """Return the kernels of a step of the benchmark's network on the digits, by engine."""
    found = {name: computed(name).total() for name in ("svi", "eager", "graph")}
    graphs = []
    finish = GraphPass.__call__

    def seen(self, graph):
        finish(self, graph)
        graphs.append([node.target for node in graph.nodes])

    caches = torch._inductor.config.patch(force_disable_caches=True)
    with caches, mock.patch.object(GraphPass, "__call__", seen):
        metrics.reset()
        noise = computed("compiled").total()  # the rest is called by machine code
    (targets,) = graphs
    products = sum(target in PRODUCTS for target in targets)
    return found | {"compiled": metrics.generated_kernel_count + products + noise}


def computed(name: str) -> Counter[str]:
    """Return the operators that compute in one step of an engine, with their numbers."""
    torch.manual_seed(0)
    vae = pv.VAE((1, 8, 8), 8, "bernoulli", hidden=(128,), levels=2)
    images = pv.load_dataset("digits", binarize="threshold").train.images
    training = pv.fit(vae, images, batch_size=64, epochs=1, engine="eager")
    engine, minibatches = ENGINES[name](Loss(vae, OBJECTIVES["elbo"])), training.draw_epoch()
    engine.prepare(minibatches)
    with training.private.swapped_in(), Counting() as mode:
        steps = engine.steps(minibatches)
        next(steps)
        mode.found.clear()
        next(steps)
    return mode.found


if __name__ == "__main__":
    main()
