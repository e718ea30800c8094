"""What a training goes through: its images, and beta and the learning rate at every step."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.settings import TrainingSettings


@dataclass(frozen=True)
class Splits:
    """The images (N, C, H, W) on the model's device: to train on, to score, and to select by.

    If `dynamic` is true, the training images are probabilities of the binary pixels that each step
    draws.
    """

    train: Tensor
    test: Tensor | None = None
    validation: Tensor | None = None
    dynamic: bool = False

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Splits":
        """Return the same images on a device, in a number format."""

        def moved(images: Tensor | None) -> Tensor | None:
            return None if images is None else images.to(device, dtype)

        train = self.train.to(device, dtype)
        return Splits(train, moved(self.test), moved(self.validation), self.dynamic)


class Minibatches(NamedTuple):
    """The steps to take: all images (N, C, H, W), the minibatches' rows (steps, B), and schedules."""

    images: Tensor
    dynamic: bool  # whether images are probabilities of the binary pixels that a step draws
    rows: Tensor
    betas: np.ndarray  # (steps,), in double precision
    learning_rates: np.ndarray

    def first(self) -> Tensor:
        """Return the images of the first step (B, C, H, W), before pixels are drawn."""
        return self.images.index_select(0, self.rows[0])


def constant(steps: np.ndarray, ramp: int) -> np.ndarray:
    """Return 1 at every step."""
    return np.ones(len(steps))


def linear(steps: np.ndarray, ramp: int) -> np.ndarray:
    """Return a factor that rises from 0 to 1 over the first `ramp` steps, and is 1 after them."""
    return np.minimum(steps / ramp, 1.0)


def cyclical(steps: np.ndarray, ramp: int) -> np.ndarray:
    """Return a factor that repeats a cycle of `2 ramp` steps.

    It rises from 0 to 1 over the first half of a cycle and is 1 over the second half.

    Source: Fu et al., "Cyclical annealing schedule", 2019, https://arxiv.org/abs/1903.10145.
    """
    return np.minimum(steps % (2 * ramp) / ramp, 1.0)


BETA_SCHEDULES = {"constant": constant, "linear": linear, "cyclical": cyclical}


def cosine(steps: np.ndarray, total: int) -> np.ndarray:
    """Return a factor that falls from 1 to 0 along half a cosine over the `total` of steps."""
    return (1 + np.cos(np.pi * steps / total)) / 2


LEARNING_RATE_SCHEDULES = {"constant": constant, "cosine": cosine}


@dataclass(frozen=True)
class Schedule:
    """The schedule of a training, which follows from its settings.

    Args:
        settings: the settings of the training.
        steps_per_epoch: the number of minibatches in an epoch.
    """

    settings: TrainingSettings
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Return the number of steps of the whole training, if patience does not end it earlier."""
        return self.settings.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """Return the number of epochs that are finished after `step` steps."""
        return step // self.steps_per_epoch

    def betas(self, steps: range) -> np.ndarray:
        """Return beta at steps, counted from 0."""
        ramp = self.settings.warmup_epochs * self.steps_per_epoch
        shape = BETA_SCHEDULES[self.settings.beta_schedule]
        return self.settings.beta * shape(np.array(steps), ramp)

    def learning_rates(self, steps: range) -> np.ndarray:
        """Return Adam's step sizes at steps, counted from 0."""
        shape = LEARNING_RATE_SCHEDULES[self.settings.learning_rate_schedule]
        return self.settings.learning_rate * shape(np.array(steps), self.steps)
