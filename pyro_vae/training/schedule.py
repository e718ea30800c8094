"""The schedule of a training: when it ends, and beta and the learning rate at every step."""

from dataclasses import dataclass

import numpy as np

from pyro_vae.settings import TrainingSettings


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
