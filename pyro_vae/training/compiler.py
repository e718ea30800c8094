"""Inductor, which compiles training steps: its options, and whether this machine can run it."""

import importlib
import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

import torch


def compile_step(step: Callable, device: torch.device) -> Callable:
    """Return the step, which inductor compiles at its first call.

    It has no guards, since a step is only called with tensors of one shape, type and device. All
    its sizes are numbers: Dynamo would make symbols of those that differ from the model before.
    """
    products = _import_products()
    options = {"guard_filter_fn": _no_guards}
    if device.type == "cuda":
        options["triton.cudagraphs"] = False  # whatever the environment says: the step is recorded
        options["deterministic"] = True  # no choice between kernels by their timing
    if device.type == "cpu":
        options["cpp.min_chunk_size"] = 8192  # numbers that repay the start of a thread
    if device.type == "cpu" and products.ONEDNN:
        options["post_grad_custom_pre_pass"] = products.OneDnnProducts()
    return torch.compile(step, fullgraph=True, dynamic=False, options=options)


def _import_products() -> ModuleType:
    """Import inductor, which takes two seconds, and suppress its message that there is no GPU."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before, logger.disabled = logger.disabled, True
    try:
        importlib.import_module("torch.utils.cpp_extension")
        return importlib.import_module("pyro_vae.training.onednn")
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
