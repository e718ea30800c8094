"""Training: a short loop that yields a record per epoch, under one of several engines."""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from pyro_vae.data import draw_binary
from pyro_vae.models.elbo import ElboTerms, chunks, elbo_terms
from pyro_vae.randomness import PrivateState
from pyro_vae.training.engines import Choice, Engine, Minibatches
from pyro_vae.training.processes import RankLost, Ranks
from pyro_vae.training.step import missing_compiler

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


class Training(Iterator[Record]):
    """A run: each `next` trains for an epoch and gives its record.

    Between two steps `state()` is all that the run needs to go on as if nothing had happened; the
    schedules follow from its step.
    """

    def __init__(
        self,
        make_engine: Callable[[str], Engine],
        choice: Choice,
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
        seed: int,
        should_stop: Callable[[], bool],
        ranks: Ranks,
    ):
        self.make_engine, self.images, self.dynamic = make_engine, images, dynamic
        self._use(choice)
        self.test_images, self.validation_images = test_images, validation_images
        self.batch_size, self.steps_per_epoch = batch_size, len(images) // batch_size
        self.epochs, self.warmup_epochs, self.patience = epochs, warmup_epochs, patience
        self.beta, self.beta_at, self.learning_rate_at = beta, beta_at, learning_rate_at
        self.should_stop, self.ranks = ranks.agreed(should_stop), ranks
        self.order = torch.Generator().manual_seed(seed)
        self.epoch_order = self.order.get_state()  # as the current epoch found it
        validate = self.engine.validates and pyro.infer.util.is_validation_enabled()
        self.private = PrivateState(seed, images.device, validate)
        self.step, self.seconds = 0, 0.0
        self.terms: list[Tensor] = []  # of the steps of an epoch that is not finished, in blocks
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

    def _use(self, choice: Choice) -> None:
        self.choice, self.engine, self.ready = choice, self.make_engine(choice.name), False

    def __next__(self) -> Record:
        if self.finished:
            raise StopIteration
        with self.clock(), self.private.swapped_in():
            self._take_steps(self.draw_epoch())
            self.calibrate()
        return self.finish_epoch()

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Time spent inside counts as training."""
        start = time.perf_counter()
        try:
            yield
            if self.images.is_cuda:
                torch.cuda.synchronize()  # once in an epoch
        finally:
            self.seconds += time.perf_counter() - start

    def _take_steps(self, minibatches: Minibatches) -> None:
        self._prepare(minibatches)
        left = len(minibatches.rows)
        with closing(self.engine.steps(minibatches)) as steps:
            while left:
                if self.should_stop():
                    raise Stopped
                try:
                    terms = next(steps)
                except ValueError as error:  # Pyro's validation, where the engine lets it look
                    raise self._diverged("a distribution's argument", self.step + 1) from error
                self.take(terms)
                left -= len(terms)

    def _prepare(self, minibatches: Minibatches) -> None:
        if self.ready:
            return
        try:
            self.engine.prepare(minibatches)
            self.ready = True
        except RankLost:
            raise
        except Exception as error:
            plainer = self.engine.plainer
            reason = str(error).strip().partition("\n")[0]
            if not self.choice.automatic or plainer is None:
                known = isinstance(error, ValueError)
                raise (ValueError if known else RuntimeError)(f"engine: {reason}") from error
            adam = self.engine.adam_state()
            self._use(Choice(plainer, True, reason))
            self.engine.load_adam_state(adam)
            self._prepare(minibatches)
            if self.engine.name == plainer:
                warnings.warn(f"engine: {plainer}, since {reason}", stacklevel=4)

    def take(self, terms: Tensor) -> None:
        """Note steps that were taken, by their terms (k, 3)."""
        self.terms.append(terms)
        self.step += len(terms)

    def draw_epoch(self) -> Minibatches:
        """The steps that the epoch still has to take: every image once, in a fresh order.

        The remainder of the last minibatch is dropped.
        """
        self.order.set_state(self.epoch_order)
        order = torch.randperm(len(self.images), generator=self.order)
        rows = order[: self.steps_per_epoch * self.batch_size].view(-1, self.batch_size)
        taken = sum(map(len, self.terms))
        steps = range(self.step, self.step - taken + self.steps_per_epoch)
        return Minibatches(
            images=self.images,
            dynamic=self.dynamic,
            rows=rows[taken:].to(self.images.device),
            betas=[self.beta_at(step) for step in steps],
            learning_rates=[self.learning_rate_at(step) for step in steps],
        )

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set what the likelihood computes from the training set."""
        model = self.engine.model
        if model.training:  # since the user had it
            model.eval()
        draw = draw_binary if self.dynamic else (lambda x: x)
        model.likelihood.calibrate(
            (x, model.outputs(model.encode(x).sample())) for x in map(draw, chunks(self.images))
        )

    def finish_epoch(self) -> Record:
        """The record of an epoch whose steps are all taken; means of loss, rate, distortion."""
        terms = torch.cat(self.terms).cpu()
        self._check_finite(terms)
        self.terms, self.epoch_order = [], self.order.get_state()
        loss, rate, distortion = terms.double().mean(0).tolist()
        record = (self.epoch, self.step, self.seconds, self.beta_at(self.step - 1), loss)
        train, test, validation_loss = (-(rate + distortion), rate, distortion), (None,) * 3, None
        if self.test_images is not None:
            scored = self._score(self.test_images)
            test = (t.mean().item() for t in (scored.elbo, *scored))
        if self.validation_images is not None:
            validation_loss = self._select(self._score(self.validation_images))
        return Record(*record, *train, *test, validation_loss)

    def _score(self, images: Tensor) -> ElboTerms:
        with pyro.validation_enabled(False):
            return elbo_terms(self.engine.model, images)

    def _select(self, scored: ElboTerms) -> float:
        distortion = scored.distortion.mean().item()
        rate = scored.rate.mean().item()
        loss = distortion if math.isnan(rate) else distortion + self.beta * rate
        loss = self.ranks.gather(loss)[0]  # rounding must not divide them on when to end
        if self.epoch > self.warmup_epochs and loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, loss
        return loss

    def _check_finite(self, terms: Tensor) -> None:
        bad = ~torch.isfinite(terms[:, [0, 2]])
        if bad.any():
            row = int(bad.any(1).nonzero()[0])
            term = "the distortion" if bad[row, 1] else "the loss"
            raise self._diverged(term, self.step - len(terms) + row + 1)
        weights = [*self.engine.model.parameters(), *self.engine.model.buffers()]
        averages = [t for state in self.engine.adam_state().values() for t in state.values()]
        if not _all_finite([*weights, *averages]):
            what = "an average of Adam" if _all_finite(weights) else "a weight"
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
            "engine": self.engine.name,
            "step": self.step,
            "seconds": self.seconds,
            "terms": torch.cat(self.terms) if self.terms else torch.empty(0, 3),
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
            as_before = state.get("engine") == "compiled" and missing_compiler() is None
            if self.choice.automatic and as_before:
                self._use(Choice("compiled", True, "as before"))
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.terms = [state["terms"].to(self.images)]
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
        if len(self.terms[0]) != self.step % self.steps_per_epoch:
            raise ValueError("checkpoint: does not fit this run (another number of images)")
        if self.step > self.epochs * self.steps_per_epoch:
            raise ValueError(f"epochs: {self.epoch} are done already, got {self.epochs}")


def _all_finite(tensors: list[Tensor]) -> bool:
    return bool(torch.nn.utils.get_total_norm(tensors, math.inf).isfinite())
