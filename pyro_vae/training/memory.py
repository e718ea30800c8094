"""The memory that a training step takes, estimated before it is taken."""

import math

import torch
from torch import nn

from pyro_vae.devices import device_bytes
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.settings import TrainingSettings

COPIES = 8  # of the weights: with Adam's averages, gradients and their successors
BACKWARD = 2  # what the gradients take, beside what the step keeps for them


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
