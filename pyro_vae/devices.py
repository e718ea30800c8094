"""Devices: which one computes, how numbers come there, how much it holds, and when it fails."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

CGROUP = Path("/sys/fs/cgroup/memory.max")  # the limit of a container or a Slurm job
PIECE = 2**21  # numbers of a tensor that is looked at in pieces
BATCH_SHARE = 16  # a batch of measurements takes this part of a GPU's memory


def checked_device(device: torch.device | str) -> torch.device:
    """Return the device of a name; a ValueError unless it is a CPU, or CUDA where there is some."""
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise ValueError(f"device: expected cpu or cuda, got {device}")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda asked for, but torch finds no CUDA device; use cpu")
    return found


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is CUDA where there is a GPU, and else the CPU.

    Raises:
        ValueError: CUDA where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    checked_device(name)
    return torch.device(name, 0) if name == "cuda" else torch.device(name)


@contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """Make a GPU the current device inside the block, with convolutions in full float32.

    Streams, graphs and a wait for the device belong to the current one. cuDNN would round the
    factors of float32 convolutions to ten bits (TF32), and choose algorithms that add up in an
    order of their own at each call.
    """
    if device.type != "cuda":
        yield
        return
    exact = {"enabled": True, "deterministic": True, "allow_tf32": False}
    with torch.cuda.device(device), torch.backends.cudnn.flags(**exact):
        yield


@contextmanager
def one_thread(alone: bool = True) -> Iterator[None]:
    """Compute with a single thread inside the block, if `alone` is true."""
    threads = torch.get_num_threads()
    if alone:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_pieces(x: Tensor) -> Iterator[Tensor]:
    """Return a tensor in parts of its rows, whose copies take little memory."""
    return iter(x.split(max(1, PIECE // max(1, x.shape[1:].numel()))))


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on the device; nothing waits until it is there."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def device_bytes(device: torch.device) -> int:
    """Return the memory that a process may use on a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP.read_text().strip() if CGROUP.exists() else "max"
    return min(physical, int(limit)) if limit.isdecimal() else physical


def numbers_at_once(device: torch.device) -> int:
    """Return how many float32 numbers a batch of measurements on a GPU may hold.

    It depends on the GPU's whole memory and not on what is free, since the draws of a measurement
    depend on its batches.
    """
    return device_bytes(device) // (4 * BATCH_SHARE)


def about() -> str:
    """Return one line on what computes here: the device, and the versions that matter."""
    packages = ("pyro_vae", "torch", "pyro-ppl")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "a CPU"
    return f"{versions}, Python {platform.python_version()}, on {device}"


def broken(error: RuntimeError) -> OSError:
    """Return the error of a GPU that failed, with what is to be done: no run is to blame for it."""
    reason = str(error).strip().partition("\n")[0]
    return OSError(
        f"device: the GPU failed ({reason}); nothing can be computed in this process any more. All"
        " epochs that were finished are saved: the same command resumes, on another GPU if this one"
        " stays broken"
    )


def full(error: torch.OutOfMemoryError) -> RuntimeError:
    """Return the error of a GPU that is full, with what was wanted of it."""
    wanted = ". ".join(str(error).split(". ")[:3])
    return RuntimeError(f"device: {wanted}; use a smaller batch_size, or fewer num_particles")
