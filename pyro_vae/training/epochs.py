"""What goes through the epochs of a training, and what comes of each.

That is: the images, beta and the learning rate of every step, and the record of an epoch.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import pyro
import torch
from torch import Tensor

from pyro_vae.data import Split, draw_binary
from pyro_vae.data.mapped import MappedImages
from pyro_vae.models.elbo import ElboTerms, chunks, each_given, elbo_terms
from pyro_vae.models.vae import VAE
from pyro_vae.settings import TrainingSettings

SMALL = 2**16  # numbers: smaller tensors are looked at together, since each look costs a call
Factors = Callable[..., np.ndarray]
Given = TypeVar("Given")  # what an iterator gives after each epoch


class Lazy(Iterator[Given]):
    """An iterator that trains as it goes, and warns if it is deleted before anything was trained.

    Python warns in the same way of a coroutine that was never awaited.
    """

    unused = False  # set where a user asked for it; iterating or restoring unsets it

    def __del__(self):
        if self.unused:
            warnings.warn(
                "nothing was trained: a training trains while you iterate, as in"
                " 'for record in pv.fit(...)' or 'list(pv.fit(...))'",
                RuntimeWarning,
                stacklevel=2,
            )


@dataclass(frozen=True)
class Splits:
    """The images on the model's device, with labels if the model takes them.

    They are those to train on, to score, and to select by.

    If `dynamic` is true, the training images are probabilities of the binary pixels that each step
    draws.
    """

    train: Split
    test: Split | None = None
    validation: Split | None = None
    dynamic: bool = False

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Splits":
        """Return the same images on a device, in a number format."""

        def moved(split: Split | None) -> Split | None:
            return None if split is None else split.to(device, dtype)

        train = self.train.to(device, dtype)
        return Splits(train, moved(self.test), moved(self.validation), self.dynamic)


class Minibatches(NamedTuple):
    """The steps to take: all images (N, C, H, W), the minibatches' rows (steps, B), and schedules."""

    images: Tensor
    labels: Tensor | None  # (N,), of a conditional model
    dynamic: bool  # whether images are probabilities of the binary pixels that a step draws
    rows: Tensor
    betas: np.ndarray  # (steps,), in double precision
    learning_rates: np.ndarray

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the images of a step (B, C, H, W), before pixels are drawn, and their labels."""
        return self.images.index_select(0, rows), self._labels_at(rows)

    def _labels_at(self, rows: Tensor) -> Tensor | None:
        y = self.labels
        return None if y is None else y.index_select(0, rows.to(y.device))

    def first(self) -> tuple[Tensor, Tensor | None]:
        """Return the images and the labels of the first step."""
        return self.at(self.rows[0])

    @property
    def in_file(self) -> bool:
        """Return whether images stay in a file, from which minibatches are read ahead."""
        return isinstance(self.images, MappedImages)

    def each(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Return what `at` returns, for one step after the other."""
        return self._read_ahead(self.rows) if self.in_file else map(self.at, self.rows)

    def _read_ahead(self, rows: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor | None]]:
        x, each = self.images, list(rows)
        assert isinstance(x, MappedImages)
        read = (images.contiguous() for images in x.batches(each))
        return zip(read, map(self._labels_at, each))

    def window(self, steps: int) -> "Minibatches":
        """Return room for the images of so many steps, in the form of minibatches.

        Where all images are in memory, they themselves are the window.
        """
        if not self.in_file:
            return self
        x, labels = self.first()
        count = steps * len(x)
        return self._replace(
            images=x.new_zeros(count, *x.shape[1:]),
            labels=None if labels is None else labels.new_zeros(count),
            rows=torch.arange(count, device=x.device).view(steps, -1),
        )

    def through(self, window: "Minibatches", scalars: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Bring the images of some steps after others into the window.

        Each time, the steps' rows in the window and their scalars (steps, ...) are yielded.
        """
        if not self.in_file:
            yield self.rows, scalars
            return
        size = len(window.rows)
        parts = self._read_ahead(rows.flatten() for rows in self.rows.split(size))
        for of_steps, (x, labels) in zip(scalars.split(size), parts):
            window.images[: len(x)] = x
            if window.labels is not None and labels is not None:
                window.labels[: len(x)] = labels
            yield window.rows[: len(of_steps)], of_steps


def constant(steps: np.ndarray, *_: int) -> np.ndarray:
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


BETA_SCHEDULES: dict[str, Factors] = {"constant": constant, "linear": linear, "cyclical": cyclical}


def cosine(steps: np.ndarray, steps_per_epoch: int, epochs: int) -> np.ndarray:
    """Return a factor that falls from 1 to 0 along half a cosine over all epochs."""
    return (1 + np.cos(np.pi * steps / (steps_per_epoch * epochs))) / 2


def staged(steps: np.ndarray, steps_per_epoch: int, epochs: int) -> np.ndarray:
    """Return a factor of 10^(-i/7) in stage i, which takes 3^i epochs, for i from 0 to 7.

    All stages take 3,280 epochs; the last one goes on after that.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    begins = (3 ** np.arange(8) - 1) // 2
    stages = np.searchsorted(begins, steps // steps_per_epoch, side="right") - 1
    return 10 ** (-stages / 7)


LEARNING_RATE_SCHEDULES: dict[str, Factors] = {
    "constant": constant,
    "cosine": cosine,
    "staged": staged,
}


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
        whole = self.steps_per_epoch, self.settings.epochs
        return self.settings.learning_rate * shape(np.array(steps), *whole)


# --- the record -----------------------------------------------------------------------------------


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


@torch.no_grad()
def calibrate(model: VAE, splits: Splits) -> bool:
    """Set what the likelihood computes from the training images, and return whether there is any."""
    if model.training:  # the caller may have changed the mode
        model.eval()
    draw = draw_binary if splits.dynamic else (lambda x: x)
    images, labelled = splits.train.images, model.given(splits.train.labels)

    def batches():
        numbers = model.likelihood.numbers_per_pixel
        for vae, x in each_given(labelled, map(draw, chunks(images, numbers_per_pixel=numbers))):
            yield x, vae.outputs(vae.encode(x).sample())

    return model.likelihood.calibrate(batches())


def test_figures(model: VAE, split: Split) -> dict[str, float]:
    """Return a record's figures of the test images, with one draw of z per image."""
    scored = _scored(model, split)
    return {
        "test_elbo": scored.elbo.mean().item(),
        "test_rate": scored.rate.mean().item(),
        "test_distortion": scored.distortion.mean().item(),
    }


def validation_loss(model: VAE, split: Split, beta: float) -> float:
    """Return distortion + beta * rate of the validation images; a point has no rate."""
    scored = _scored(model, split)
    distortion, rate = scored.distortion.mean().item(), scored.rate.mean().item()
    return distortion if math.isnan(rate) else distortion + beta * rate


def _scored(model: VAE, split: Split) -> ElboTerms:
    with pyro.validation_enabled(False):
        return elbo_terms(model.given(split.labels), split.images)


def all_finite(tensors: list[Tensor]) -> bool:
    """Return whether all numbers are finite: the smallest and the largest are, and not NaN."""
    small = [tensor.flatten() for tensor in tensors if tensor.numel() < SMALL]
    looked_at = [tensor for tensor in tensors if tensor.numel() >= SMALL]
    if small:
        looked_at.append(torch.cat(small))
    ends = [end.double() for tensor in looked_at if tensor.numel() for end in torch.aminmax(tensor)]
    return bool(torch.isfinite(torch.stack(ends)).all()) if ends else True
