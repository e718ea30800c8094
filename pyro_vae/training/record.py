"""The record of an epoch, and what is measured at the end of one."""

import math
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from pyro_vae.models.elbo import ElboTerms, elbo_terms
from pyro_vae.models.vae import LatentImageModel

SMALL = 2**16  # numbers: smaller tensors are looked at together, since each look costs a call


@dataclass(frozen=True)
class Record:
    """The record of an epoch, in nats per image.

    Args:
        epoch: the number of the epoch, from 1.
        step: the number of steps taken since training began.
        seconds: the time spent on training since it began.
        beta: the factor on the KL in the epoch's last step.
        loss: what training minimises, a mean over the epoch's steps.
        train_elbo: the ELBO at beta = 1, a mean over the epoch's steps.
        train_rate: KL(q(z|x) || p(z)), a mean over the epoch's steps.
        train_distortion: -E_q log p(x|z), a mean over the epoch's steps.
        test_elbo: the ELBO of the test images at the end of the epoch, or None without them.
        test_rate: their rate.
        test_distortion: their distortion.
        validation_loss: distortion + final beta * rate of the validation images, or None without
            them.
    """

    epoch: int
    step: int
    seconds: float
    beta: float
    loss: float
    train_elbo: float
    train_rate: float
    train_distortion: float
    test_elbo: float | None = None
    test_rate: float | None = None
    test_distortion: float | None = None
    validation_loss: float | None = None

    def __repr__(self) -> str:
        parts = [f"epoch {self.epoch}, step {self.step}"]
        for name in ("loss", "train_elbo", "test_elbo", "validation_loss"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name} {value:.2f}")
        return f"Record({', '.join(parts)})"


def test_figures(model: LatentImageModel, images: Tensor) -> dict[str, float]:
    """Return a record's figures of the test images (N, C, H, W), with one draw of z per image."""
    scored = _scored(model, images)
    return {
        "test_elbo": scored.elbo.mean().item(),
        "test_rate": scored.rate.mean().item(),
        "test_distortion": scored.distortion.mean().item(),
    }


def validation_loss(model: LatentImageModel, images: Tensor, beta: float) -> float:
    """Return distortion + beta * rate of the validation images; a point has no rate."""
    scored = _scored(model, images)
    distortion, rate = scored.distortion.mean().item(), scored.rate.mean().item()
    return distortion if math.isnan(rate) else distortion + beta * rate


def _scored(model: LatentImageModel, images: Tensor) -> ElboTerms:
    with pyro.validation_enabled(False):
        return elbo_terms(model, images)


def all_finite(tensors: list[Tensor]) -> bool:
    """Return whether all numbers are finite; sums in double precision are, if their terms are."""
    small = [tensor.flatten() for tensor in tensors if tensor.numel() < SMALL]
    looked_at = [tensor for tensor in tensors if tensor.numel() >= SMALL]
    if small:
        looked_at.append(torch.cat(small))
    sums = [tensor.sum(dtype=torch.float64) for tensor in looked_at]
    return bool(torch.isfinite(torch.stack(sums)).all()) if sums else True
