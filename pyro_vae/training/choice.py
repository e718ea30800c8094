"""What a machine can train: the engine that suits it, and the steps that its memory holds.

The choice of an engine depends on the training and the machine, and on no clock.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from pyro_vae.devices import device_bytes
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.names import ENGINES, check_name
from pyro_vae.settings import TrainingSettings
from pyro_vae.training.compiler import missing_compiler

# Total steps from which on `auto` takes an engine. On a CPU, trials needed 200 to 15,000, most for
# tiny networks; for CUDA these are estimates, which no GPU has measured.
STEPS_THAT_PAY = {
    "cpu": {"eager": 0, "compiled": 20_000},
    "cuda": {"eager": 0, "graph": 300, "compiled": 150_000},
}
COPIES = 8  # of the weights: with Adam's averages, gradients and their successors
BACKWARD = 2  # what the gradients take, beside what the step keeps for them


class Choice(NamedTuple):
    """A choice of engine: its name, whether another may replace it, and the reason in a few words."""

    name: str
    automatic: bool
    reason: str


def choose_engine(name: str, steps: int, device: str = "cpu", ranks: int = 1) -> Choice:
    """Return the engine that a name stands for in a training of `steps` steps in all.

    `auto` depends on the number of steps, on the type of device, and on whether there is a
    compiler. It does not depend on how busy the machine is, nor on the steps that are left, so a
    run is always computed in the same way on the same machine.

    Args:
        device: the type of the device.
        ranks: the number of processes that train together.

    Raises:
        ValueError: an unknown name; an engine that cannot run here.
    """
    check_name("engine", name, ["auto", *ENGINES])
    missing = {engine: why for engine in ENGINES if (why := _missing(engine, device, ranks))}
    if name in missing:
        raise ValueError(f"engine: {missing[name]}, which {name} needs; use eager")
    if name != "auto":
        return Choice(name, False, "as asked for")
    pays = STEPS_THAT_PAY[device].items()
    *_, best = (engine for engine, least in pays if steps >= least and engine not in missing)
    if best == "compiled":
        return Choice(best, True, f"{steps:,} steps pay for compiling")
    reason = missing.get("compiled") or f"{steps:,} steps do not pay for compiling"
    return Choice(best, True, reason)


def _missing(engine: str, device: str, ranks: int) -> str | None:
    """Return what an engine needs and has not here, in a few words; None where it can run."""
    if engine == "compiled":
        return missing_compiler(device)
    if engine == "graph" and device != "cuda":
        return "no CUDA device"
    return "a single process" if engine == "graph" and ranks > 1 else None


# --- memory ----------------------------------------------------------------------------------------


def step_bytes(model: LatentImageModel, settings: TrainingSettings) -> int:
    """Return an estimate of the memory that a step takes, in bytes.

    It counts what the likelihood holds for each pixel of each draw of z, and what each layer of the
    networks gives, and the same again for the gradients; weights and the images are left out.
    """
    images = (settings.batch_size or 0) * settings.num_particles
    scored = math.prod(model.image_shape) * model.likelihood.numbers_per_pixel
    hidden = sum(m.out_features for m in model.modules() if isinstance(m, nn.Linear))
    itemsize = 8 if settings.precision == "float64" else 4
    return BACKWARD * itemsize * images * (scored + hidden)


def models_that_fit(
    model: LatentImageModel, settings: TrainingSettings, device: torch.device
) -> int:
    """Return how many such models a GPU with its free memory can train in one step.

    Each has its weights, Adam's averages, gradients, and what the step computes; a fifth is left.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(0.8 * free) // (COPIES * weights + step_bytes(model, settings)))


def check_step_fits(
    model: LatentImageModel, settings: TrainingSettings, device: torch.device
) -> None:
    """Check that a training step fits into the memory of the device.

    Raises:
        ValueError: by the estimate it does not; the message gives both figures.
    """
    needed, there = step_bytes(model, settings), device_bytes(device)
    if needed > there:
        raise ValueError(
            f"batch_size, num_particles: a step would take about {needed / 1e9:,.0f} GB with"
            f" {settings.batch_size} images and {settings.num_particles} draws of each, and"
            f" {device} has {there / 1e9:,.0f} GB; use fewer"
        )
