"""Inductor, which compiles training steps: its options, and whether this machine can run it."""

import importlib
import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils._pytree import tree_leaves


def compile_step(
    step: Callable, device: torch.device, libraries: Mapping[str, str] | None = None
) -> Callable:
    """Return the step, which inductor compiles at its first call.

    It has no guards, since a step is only called with tensors of one shape, type and device. All
    its sizes are numbers: Dynamo would make symbols of those that differ from the model before.

    Args:
        libraries: those of matrix products, as `products.choose` gives them.
    """
    inductor_pass = _import_pass()
    if device.type == "cuda":
        options = {
            "guard_filter_fn": _no_guards,
            "triton.cudagraphs": False,  # whatever the environment says: the step is recorded
            "deterministic": True,  # no choice between kernels by their timing
        }
        return torch.compile(step, fullgraph=True, dynamic=False, options=options)
    options = {
        "cpp_wrapper": True,  # one file of C++ takes less time to compile, and to call
        "cpp.min_chunk_size": 8192,  # numbers that repay the start of a thread
        "size_asserts": False,  # a step's tensors never change their shapes
    }
    if torch._inductor.config.cpp.vec_isa_ok is None:
        options["cpp.vec_isa_ok"] = True  # torch knows the processor; to probe it takes seconds
    options["post_grad_custom_post_pass"] = inductor_pass.GraphPass(libraries or {})
    return Direct(step, options)


def of_its_own(function: Callable) -> Callable:
    """Return the function with a new code object, since Dynamo's cache goes by code objects."""
    code = function.__code__.replace(co_name=function.__name__)
    closure = function.__closure__
    return FunctionType(code, function.__globals__, function.__name__, closure=closure)


class Direct:
    """A step that inductor compiles at its first call, and that is called directly after it.

    Dynamo traces the step. It would also stand between all later calls and the machine code, and
    look for every tensor again, which takes a tenth of a small step. Arguments that are those of the
    call before, such as what the model has learned, cost nothing here.

    Args:
        step: a function of tensors, and of lists and tuples of them, to a tensor or None.
        options: of inductor.
    """

    def __init__(self, step: Callable, options: dict):
        self.step, self.options, self.inputs = step, options, None

    def __call__(self, *args):
        if self.inputs is None:
            return self._first(args)
        for n, (arg, before) in enumerate(zip(args, self.args)):
            if arg is not before and n in self.places:
                self.inputs[self.places[n]] = arg
            elif arg is not before:
                self._place(args)
                break
        self.args = args
        results = self.machine_code(*self.inputs)
        return None if self.result is None else results[self.result]

    def _first(self, args: tuple) -> Tensor | None:
        """Take the way through Dynamo, and see which arguments become which inputs."""
        seen: list = []
        guards = {"guard_filter_fn": _no_guards}
        compile_with = {"fullgraph": True, "dynamic": False, "options": guards}
        backend = _watched(self.options, seen)
        result = torch.compile(self.step, backend=backend, **compile_with)(*args)
        self.machine_code, inputs, results = seen
        seen.clear()  # Dynamo keeps the backend
        numbers = {id(tensor): n for n, tensor in enumerate(tree_leaves(args))}
        self.order = [numbers.get(id(tensor), tensor) for tensor in inputs]  # or a constant
        places = {id(tensor): place for place, tensor in enumerate(inputs)}
        self.places = {n: places[id(arg)] for n, arg in enumerate(args) if id(arg) in places}
        by_id = {id(tensor): n for n, tensor in enumerate(results)}
        self.result = None if result is None else by_id[id(result)]
        self._place(args)
        return result

    def _place(self, args: tuple) -> None:
        leaves = tree_leaves(args)
        self.args = args
        self.inputs = [leaves[n] if isinstance(n, int) else n for n in self.order]


def _watched(options: dict, seen: list) -> Callable:
    """Return inductor as a backend; `seen` takes its machine code, with its inputs and results."""

    def backend(graph: GraphModule, examples: list[Tensor], **_) -> Callable:
        from torch._inductor.compile_fx import compile_fx  # imports inductor

        machine_code = compile_fx(graph, examples, config_patches=options)

        def watched(*inputs):
            seen[:] = machine_code, inputs, machine_code(*inputs)
            return seen[2]

        return watched

    return backend


def _import_pass() -> ModuleType:
    """Import inductor, which takes two seconds, and suppress its message that there is no GPU."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before, logger.disabled = logger.disabled, True
    try:
        importlib.import_module("torch.utils.cpp_extension")
        return importlib.import_module("pyro_vae.compiling.graph_pass")
    finally:
        logger.disabled = before


def missing_compiler(device: str = "cpu") -> str | None:
    """Return why inductor cannot compile for a type of device here; None where it can."""
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        return "no Triton"
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"no C++ compiler ({compiler})"


def _no_guards(guards: Sequence) -> list[bool]:
    return [False] * len(guards)
