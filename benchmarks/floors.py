"""What a training step cannot do without: its products and Adam's traffic, at the device's pace."""

import time
from collections.abc import Callable
from functools import cache, partial

import torch
from peers.base import Task
from peers.ours import new_vae
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import pyro_vae as pv
from pyro_vae.compiling.products import LIBRARIES

ADAM = 7 * 4  # bytes per parameter: it reads p, g and both averages, and writes all but g


def floor(task: Task) -> str:
    """A sentence with operations, bytes, and the milliseconds that they take here by themselves."""
    vae, x = new_vae(task).to(task.device), task.images[: task.batch_size].to(task.device)
    operations, moved = work(vae, x)
    pace, bandwidth = products_per_second(x.device), bytes_per_second(moved, x.device)
    least = 1e3 * (operations / pace + moved / bandwidth)
    return (
        f"A step's products are {operations / 1e6:.0f} million operations, and Adam moves"
        f" {moved / 1e6:.2g} MB: at the pace of a large product ({pace / 1e9:.0f} billion a second)"
        f" and of a copy of that size ({bandwidth / 1e9:.0f} GB/s) no less than {least:.3g} ms"
    )


def least_seconds(vae: pv.VAE, x: Tensor, exponentials: int = 0) -> float:
    """Seconds that a step's products, Adam's traffic and exponentials take by themselves.

    Args:
        exponentials: those per pixel that cannot be avoided.
    """
    operations, moved = work(vae, x)
    head = sum(p.numel() for p in vae.likelihood.parameters() if p.ndim == 2)
    operations += 6 * head * x.numel()  # a linear head per pixel, forward and backward
    pace, bandwidth = products_per_second(x.device), bytes_per_second(moved, x.device)
    seconds = operations / pace + moved / bandwidth
    if exponentials:
        numbers = torch.rand(2**7, 2**8, device=x.device)  # softmax is torch's fastest exponential
        each = fastest(lambda: numbers.softmax(-1), x.device) / numbers.numel()
        seconds += each * exponentials * x.numel()
    return seconds


def work(vae: pv.VAE, x: Tensor) -> tuple[int, int]:
    """Operations of a step's products, and bytes that Adam moves."""
    with FlopCounterMode(display=False) as counter:
        vae.outputs(vae.encode(x).rsample()).sum().backward()
    moved = ADAM * sum(p.numel() for p in vae.parameters())
    vae.zero_grad()
    return counter.get_total_flops(), moved


@cache
def products_per_second(device: torch.device, size: int = 2048) -> float:
    """Operations a second in a large product of float32 matrices, by the fastest library."""
    a, b = torch.rand(2, size, size, device=device)
    libraries = LIBRARIES.values() if device.type == "cpu" else [torch.mm]
    return 2 * size**3 / min(fastest(partial(multiply, a, b), device) for multiply in libraries)


@cache
def bytes_per_second(size: int, device: torch.device) -> float:
    """Bytes read and written a second by a copy that moves so many."""
    a, b = torch.rand(2, size // 8, device=device)
    return size / fastest(lambda: b.copy_(a), device)


def fastest(work: Callable[[], Tensor], device: torch.device, repetitions: int = 20) -> float:
    """Seconds of the fastest repetition."""
    seconds = []
    for _ in range(repetitions):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def wait(device: torch.device) -> None:
    """Until the device has nothing to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()
