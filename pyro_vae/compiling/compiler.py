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

from pyro_vae.compiling.machine_code import MachineCode


def compile_step(
    step: Callable, device: torch.device, libraries: Mapping[str, str] | None = None
) -> Callable:
    """Return the step, which inductor compiles at its first call.

    It is compiled for tensors of the shapes, types and device of that call, and is called with no
    others: nothing looks at them again.

    Args:
        step: a function of tensors, and of lists and tuples of them, to a tensor or None.
        libraries: those of matrix products, as `products.choose` gives them.
    """
    inductor_pass = _import_pass()
    if device.type == "cuda":
        options = {
            "guard_filter_fn": _no_guards,
            "triton.cudagraphs": False,  # whatever the environment says: the step is recorded
            "deterministic": True,  # no choice between kernels by their timing
        }
        return torch.compile(_of_its_own(step), fullgraph=True, dynamic=False, options=options)
    options = {
        "cpp_wrapper": True,  # one file of C++ takes less time to compile, and to call
        "cpp.min_chunk_size": 8192,  # numbers that repay the start of a thread
        "size_asserts": False,  # a step's tensors never change their shapes
    }
    if torch._inductor.config.cpp.vec_isa_ok is None:
        options["cpp.vec_isa_ok"] = True  # torch knows the processor; to probe it takes seconds
    options["post_grad_custom_post_pass"] = inductor_pass.GraphPass(libraries or {})
    return MachineCode(step, options)


def _of_its_own(function: Callable) -> Callable:
    """Return the function with a new code object, since Dynamo's cache goes by code objects."""
    code = function.__code__.replace(co_name=function.__name__)
    closure = function.__closure__
    return FunctionType(code, function.__globals__, function.__name__, closure=closure)


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
