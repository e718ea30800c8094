"""Training: a short loop that yields a record per epoch, under one of several engines."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import pyro
import torch
from torch import Tensor

from pyro_vae.data import check_unit_interval, draw_binary
from pyro_vae.engines import ENGINES, Engine, choose_engine
from pyro_vae.evaluation.bounds import ElboTerms, elbo_terms
from pyro_vae.evaluation.latents import chunks
from pyro_vae.names import check_name
from pyro_vae.objectives import (
    BETA_SCHEDULES,
    LEARNING_RATE_SCHEDULES,
    OBJECTIVES,
    check_arguments,
)
from pyro_vae.randomness import PrivateState
from pyro_vae.vae import LatentImageModel

PRECISIONS = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Record:
    """One epoch. Nats per image; the training figures are means over its steps, rate and
    distortion at beta = 1; `seconds` counts training only, from the start; the test figures are
    measured at the epoch's end, None without test images, and so is the validation loss,
    distortion + final beta * rate."""

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


class Stopped(Exception):
    """Training was asked to stop, and did so between two steps."""


def fit(
    model: LatentImageModel,
    images: Tensor,
    *,
    test_images: Tensor | None = None,
    dynamic: bool = False,
    objective: str = "elbo",
    num_particles: int = 1,
    beta: float = 1.0,
    beta_schedule: str = "constant",
    warmup_epochs: int = 0,
    epochs: int = 100,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    learning_rate_schedule: str = "constant",
    seed: int = 0,
    device: torch.device | str = "cpu",
    precision: str = "float32",
    engine: str = "auto",
    validation_images: Tensor | None = None,
    patience: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> "Training":
    """Train the model in place on images (N, C, H, W), yielding a record after each epoch.

    The model moves to `device`, is in `eval` mode whenever the caller has it, and has a random
    state of its own: what the caller draws between records changes nothing.

    Args:
        test_images: (M, C, H, W), scored after each epoch with one draw of z per image.
        dynamic: the images are probabilities of binary pixels, drawn anew each epoch.
        objective: `elbo`, `elbo_analytic` or `iwae`.
        num_particles: draws of z per image and step.
        beta: what the rate is multiplied by; `iwae` knows only 1.
        beta_schedule: `constant`; `linear` from 0 over `warmup_epochs`; `cyclical`, over and over.
        batch_size: images per step, min(128, N) unless told; an epoch drops the remainder.
        learning_rate_schedule: `constant`, or `cosine` to 0 at the end of training.
        precision: `float32`, `float64`, or `bf16` for the networks alone.
        engine: `svi`, `eager`, `compiled` (the first step takes a while), or `auto` for `eager`.
        validation_images: (V, C, H, W), scored after each epoch like `test_images`.
        patience: training ends after so many epochs without a lower validation loss, counted from
            the warm-up's end; whoever iterates keeps the weights of `best_epoch`.
        should_stop: asked before every step; once true, `Stopped` is raised and `state` can be
            saved.

    Raises:
        ValueError: arguments out of range, or that do not go together; images that the
            likelihood cannot score.
        FloatingPointError: a loss that is not finite.
    """
    batch_size = min(128, len(images)) if batch_size is None else batch_size
    check_arguments(objective, num_particles, beta, beta_schedule, warmup_epochs, epochs)
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")
    check_name("learning_rate_schedule", learning_rate_schedule, LEARNING_RATE_SCHEDULES)
    if not 1 <= batch_size <= len(images):
        raise ValueError(f"batch_size: expected 1 to {len(images)} images, got {batch_size}")
    if (patience is None) != (validation_images is None) or (patience is not None and patience < 1):
        raise ValueError(f"patience: expected at least 1, with validation_images; got {patience}")
    chosen = ENGINES[choose_engine(engine)]
    dtype = PRECISIONS[check_name("precision", precision, PRECISIONS)]
    check_unit_interval(images) if dynamic else model.likelihood.check(images)
    model.to(device, dtype)
    held_out = []
    for others in (test_images, validation_images):
        if others is not None:
            model.likelihood.check(others)
            others = others.to(device, dtype)
        held_out.append(others)
    images = images.to(device, dtype)
    steps = len(images) // batch_size
    return Training(
        engine=chosen(model, OBJECTIVES[objective], num_particles),
        images=images,
        test_images=held_out[0],
        validation_images=held_out[1],
        dynamic=dynamic,
        batch_size=batch_size,
        epochs=epochs,
        warmup_epochs=warmup_epochs,
        patience=patience,
        beta=beta,
        beta_at=lambda step: beta * BETA_SCHEDULES[beta_schedule](step, warmup_epochs * steps),
        learning_rate_at=lambda step: (
            learning_rate * LEARNING_RATE_SCHEDULES[learning_rate_schedule](step, epochs * steps)
        ),
        autocast=precision == "bf16",
        seed=seed,
        should_stop=should_stop,
    )


class Training(Iterator[Record]):
    """A run: each `next` trains for an epoch and gives its record.

    Between two steps `state()` is all that the run needs to go on as if nothing had happened; the
    schedules follow from its step.
    """

    def __init__(
        self,
        engine: Engine,
        images: Tensor,
        test_images: Tensor | None,
        validation_images: Tensor | None,
        dynamic: bool,
        batch_size: int,
        epochs: int,
        warmup_epochs: int,
        patience: int | None,
        beta: float,
        beta_at: Callable[[int], float],
        learning_rate_at: Callable[[int], float],
        autocast: bool,
        seed: int,
        should_stop: Callable[[], bool],
    ):
        self.engine, self.images, self.dynamic = engine, images, dynamic
        self.test_images, self.validation_images = test_images, validation_images
        self.batch_size, self.steps_per_epoch = batch_size, len(images) // batch_size
        self.epochs, self.warmup_epochs, self.patience = epochs, warmup_epochs, patience
        self.beta, self.beta_at, self.learning_rate_at = beta, beta_at, learning_rate_at
        bf16 = partial(torch.autocast, images.device.type, torch.bfloat16)
        self.autocast = bf16 if autocast else nullcontext
        self.should_stop = should_stop
        self.order = torch.Generator().manual_seed(seed)
        self.epoch_order = self.order.get_state()  # as the current epoch found it
        validate = engine.validates and pyro.infer.util.is_validation_enabled()
        self.private = PrivateState(seed, images.device, validate)
        self.step, self.seconds = 0, 0.0
        self.terms: list[Tensor] = []  # of the steps of an epoch that was not finished
        self.best_epoch, self.best_loss = None, math.inf

    @property
    def epoch(self) -> int:
        """Epochs that are finished."""
        return self.step // self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        waited = self.epoch - max(self.best_epoch or 0, self.warmup_epochs)
        return self.epoch >= self.epochs or (self.patience is not None and waited >= self.patience)

    def __next__(self) -> Record:
        if self.finished:
            raise StopIteration
        loss, rate, distortion = self._epoch()
        record = (self.epoch, self.step, self.seconds, self.beta_at(self.step - 1), loss)
        train, test, validation_loss = (-(rate + distortion), rate, distortion), (None,) * 3, None
        if self.test_images is not None:
            scored = self._score(self.test_images)
            test = (t.mean().item() for t in (scored.elbo, *scored))
        if self.validation_images is not None:
            validation_loss = self._select(self._score(self.validation_images))
        return Record(*record, *train, *test, validation_loss)

    def _epoch(self) -> list[float]:
        """Every image once, in a fresh order, the remainder dropped: mean loss, rate, distortion."""
        with self._clock(), self.private.swapped_in():
            images, minibatches = self._draw_epoch()
            for rows in minibatches[len(self.terms) :]:
                if self.should_stop():
                    raise Stopped
                self.terms.append(self._step(images.index_select(0, rows)))
            self.engine.model.eval()
            self._calibrate(images)
            terms = torch.stack(self.terms).cpu()  # the epoch's one sync
        self._check_finite(terms)
        self.terms, self.epoch_order = [], self.order.get_state()
        return terms.double().mean(0).tolist()

    @contextmanager
    def _clock(self) -> Iterator[None]:
        start = time.perf_counter()
        self.engine.model.train()
        try:
            yield
        finally:
            self.engine.model.eval()
            self.seconds += time.perf_counter() - start

    def _draw_epoch(self) -> tuple[Tensor, Tensor]:
        """The epoch's images, and the rows of its minibatches (steps, batch_size)."""
        device = self.images.device
        self.order.set_state(self.epoch_order)
        order = torch.randperm(len(self.images), generator=self.order)
        rows = order[: self.steps_per_epoch * self.batch_size].view(-1, self.batch_size).to(device)
        if not self.dynamic:
            return self.images, rows
        seed = torch.randint(2**62, (), generator=self.order).item()
        return draw_binary(self.images, torch.Generator(device).manual_seed(seed)), rows

    def _step(self, x: Tensor) -> Tensor:
        beta, learning_rate = self.beta_at(self.step), self.learning_rate_at(self.step)
        self.step += 1
        try:
            with self.autocast():
                return torch.stack(self.engine.step(x, beta, learning_rate))
        except ValueError as error:  # Pyro's validation, where the engine lets it look
            raise self._diverged("a distribution's argument", self.step) from error

    @torch.no_grad()
    def _calibrate(self, images: Tensor) -> None:
        model = self.engine.model
        model.likelihood.calibrate(
            (x, model.outputs(model.encode(x).sample())) for x in chunks(images)
        )

    def _score(self, images: Tensor) -> ElboTerms:
        with pyro.validation_enabled(False):
            return elbo_terms(self.engine.model, images)

    def _select(self, scored: ElboTerms) -> float:
        distortion = scored.distortion.mean().item()
        rate = scored.rate.mean().item()
        loss = distortion if math.isnan(rate) else distortion + self.beta * rate
        if self.epoch > self.warmup_epochs and loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, loss
        return loss

    def _check_finite(self, terms: Tensor) -> None:
        bad = ~torch.isfinite(terms[:, [0, 2]])
        if bad.any():
            row = int(bad.any(1).nonzero()[0])
            term = "the distortion" if bad[row, 1] else "the loss"
            raise self._diverged(term, self.step - len(terms) + row + 1)
        weights = self.engine.model.state_dict().values()
        averages = (t for state in self.engine.adam_state().values() for t in state.values())
        for what, tensors in (("a weight", weights), ("an average of Adam", averages)):
            if not torch.stack([t.isfinite().all().to(terms) for t in tensors]).all():
                raise self._diverged(what, self.step)

    def _diverged(self, what: str, step: int) -> FloatingPointError:
        epoch = math.ceil(step / self.steps_per_epoch)
        return FloatingPointError(
            f"{what} is not finite at epoch {epoch}, step {step};"
            " try a smaller learning_rate, or score 'levels', which is bounded"
        )

    def state(self) -> dict:
        """Tensors and plain numbers, to be saved; it loads on any device, under any engine."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "terms": torch.stack(self.terms) if self.terms else torch.empty(0, 3),
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "order": self.epoch_order,
            "random": self.private.random,
            "model": self.engine.model.state_dict(),
            "adam": self.engine.adam_state(),
        }

    def restore(self, state: dict) -> None:
        """Go on from what `state` gave; bit for bit on the same device.

        Raises:
            ValueError: the state of another model, other data, or of more epochs than asked for.
        """
        try:
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.terms = list(state["terms"].to(self.images))
            self.best_epoch, self.best_loss = state["best_epoch"], float(state["best_loss"])
            self.epoch_order = state["order"].cpu()
            self.order.set_state(self.epoch_order)
            known = [r.cpu() for r in state["random"]][: len(self.private.random)]
            self.private.random[: len(known)] = known
            self.engine.model.load_state_dict(state["model"])
            self.engine.load_adam_state(state["adam"])
            with self.private.swapped_in():
                pass  # a random state of the wrong kind shows here
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise ValueError(f"checkpoint: does not fit this run ({reason})") from error
        if len(self.terms) != self.step % self.steps_per_epoch:
            raise ValueError("checkpoint: does not fit this run (another number of images)")
        if self.step > self.epochs * self.steps_per_epoch:
            raise ValueError(f"epochs: {self.epoch} are done already, got {self.epochs}")
