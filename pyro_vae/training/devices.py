"""The device on which a training computes, and the way of its numbers there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


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


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on the device; nothing waits until it is there."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


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
