"""The memory that a training step takes, estimated before it is taken."""

import math
import os
from pathlib import Path

import torch
from torch import nn

from pyro_vae.models.vae import LatentImageModel
from pyro_vae.settings import TrainingSettings

CGROUP = Path("/sys/fs/cgroup/memory.max")  # the limit of a container or a Slurm job
BACKWARD = 2  # what the gradients take, beside what the step keeps for them


def step_bytes(model: LatentImageModel, settings: TrainingSettings) -> int:
    """Return an estimate of the memory that a step takes, in bytes.

    It counts what the likelihood holds for each pixel of each draw of z, and what each layer of the
    networks gives, and the same again for the gradients; weights and the images are left out.
    """
    images = settings.batch_size * settings.num_particles
    scored = math.prod(model.image_shape) * model.likelihood.numbers_per_pixel
    hidden = sum(m.out_features for m in model.modules() if isinstance(m, nn.Linear))
    itemsize = 8 if settings.precision == "float64" else 4
    return BACKWARD * itemsize * images * (scored + hidden)


def device_bytes(device: torch.device) -> int:
    """Return the memory that a process may use on a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP.read_text().strip() if CGROUP.exists() else "max"
    return min(physical, int(limit)) if limit.isdecimal() else physical


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
