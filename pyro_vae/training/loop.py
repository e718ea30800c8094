"""The training loop: it takes steps with an engine and yields a record per epoch."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pyro
import torch
from torch import Tensor

from pyro_vae.checkpoints import MISFITS
from pyro_vae.devices import computing_on, full, one_thread, sent, synchronize
from pyro_vae.models.vae import VAE
from pyro_vae.notices import notice
from pyro_vae.randomness import PrivateState, one_at_a_time
from pyro_vae.training.engines import Choice, Engine, choose_engine
from pyro_vae.training.epochs import (
    Lazy,
    Minibatches,
    Record,
    Schedule,
    Splits,
    all_finite,
    calibrate,
    test_figures,
    validation_loss,
)

SMALL_STEP = 3e6  # multiplications, for which several threads wait longer than they save


class Stopped(Exception):
    """The exception of a training that was asked to stop, and did so between two steps."""


class Training(Lazy[Record]):
    """An iterator that trains for an epoch at each `next` and gives its record.

    Between two steps, `state()` holds all that the training needs to resume as if it had never
    stopped.

    Args:
        make_engine: returns the engine of a name.
        choice: the engine to begin with.
        schedule: beta, the learning rate and the number of epochs.
        splits: the images.
        should_stop: called between steps; training stops once it returns true.
    """

    def __init__(
        self,
        make_engine: Callable[[str], Engine],
        choice: Choice,
        schedule: Schedule,
        splits: Splits,
        should_stop: Callable[[], bool],
    ):
        self.make_engine, self.schedule, self.splits = make_engine, schedule, splits
        self.settings = schedule.settings
        self.step, self.seconds = 0, 0.0
        self._use(choice)
        self.should_stop = should_stop
        self.order = torch.Generator().manual_seed(self.settings.seed)
        self.epoch_order = self.order.get_state()  # its state at the start of the current epoch
        validate = self.engine.validates and pyro.infer.util.is_validation_enabled()
        self.private = PrivateState(self.settings.seed, self.images.device, validate)
        self.terms: list[Tensor] = []  # of the unfinished epoch's steps, in blocks
        self.best_epoch: int | None = None
        self.best_loss = math.inf

    @property
    def model(self) -> VAE:
        """Return the model that is trained."""
        return self.engine.model

    @property
    def images(self) -> Tensor:
        """Return the training images."""
        return self.splits.train.images

    @property
    def batch_size(self) -> int:
        """Return the number of images per step."""
        return self.settings.batch_size or len(self.images)

    @property
    def epoch(self) -> int:
        """Return the number of epochs that are finished."""
        return self.schedule.epoch(self.step)

    @property
    def finished(self) -> bool:
        """Return whether all epochs are done, or patience has run out."""
        patience = self.settings.patience
        waited = self.epoch - max(self.best_epoch or 0, self.settings.warmup_epochs)
        return self.epoch >= self.settings.epochs or (patience is not None and waited >= patience)

    def _use(self, choice: Choice) -> None:
        self.choice, self.engine, self.ready = choice, self.make_engine(choice.name), False
        self.engine.count = self.step
        weights = sum(p.numel() for p in self.model.parameters())
        on_cpu = self.images.device.type == "cpu"
        self.small = self.engine.one_thread and on_cpu and weights * self.batch_size < SMALL_STEP

    def __repr__(self) -> str:
        return f"Training(epoch {self.epoch} of {self.settings.epochs}; trains while you iterate)"

    @one_at_a_time()
    def __next__(self) -> Record:
        self.unused = False
        if self.finished:
            raise StopIteration
        try:
            with computing_on(self.images.device):
                with self.clock(), self.private.swapped_in():
                    self._take_steps(self.draw_epoch())
                    self.calibrate()
                return self.finish_epoch()
        except torch.OutOfMemoryError as error:
            raise full(error) from error

    @contextmanager
    def clock(self) -> Iterator[None]:
        """Compute on the images' device inside the block, and count its time as training."""
        start = time.perf_counter()
        try:
            with computing_on(self.images.device), one_thread(self.small):
                yield
                synchronize(self.images.device)  # once per epoch
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
                except ValueError as error:  # from Pyro's validation, if it is on
                    raise self._diverged("a distribution's argument", self.step + 1) from error
                self.advance(terms)
                left -= len(terms)

    @one_at_a_time()
    def prepare(self) -> None:
        """Make the engine ready, as the first epoch would; it may compile for a minute."""
        if not self.finished:
            with self.clock(), self.private.swapped_in():
                self._prepare(self.draw_epoch())

    def _prepare(self, minibatches: Minibatches) -> None:
        """Make the engine ready or, where it may be replaced, the first plainer one that can be."""
        before = self.choice
        while not self.ready:
            try:
                self.engine.prepare(minibatches)
                self.ready = True
            except Exception as error:
                self._use_plainer(error)
        if self.choice is not before:
            notice(f"engine: {self.choice.name}, since {self.choice.reason}")

    def _use_plainer(self, error: Exception) -> None:
        """Use the next plainer engine in place of one that cannot be made ready."""
        plainer, reason = self.engine.plainer, str(error).strip().partition("\n")[0]
        if not self.choice.automatic or plainer is None:
            known = isinstance(error, ValueError)
            raise (ValueError if known else RuntimeError)(f"engine: {reason}") from error
        adam = self.engine.adam_state()
        self._use(Choice(plainer, True, reason))
        self.engine.load_adam_state(adam)

    def advance(self, terms: Tensor) -> None:
        """Count steps as taken, and keep their terms (k, 3)."""
        self.terms.append(terms)
        self.step += len(terms)
        self.engine.count = self.step

    def draw_epoch(self) -> Minibatches:
        """Return the steps that remain in the epoch, which takes every image once in a new order.

        Images that do not fill a last minibatch are left out.
        """
        self.unused = False
        self.order.set_state(self.epoch_order)
        order = torch.randperm(len(self.images), generator=self.order)
        steps_per_epoch = self.schedule.steps_per_epoch
        rows = order[: steps_per_epoch * self.batch_size].view(-1, self.batch_size)
        taken = sum(map(len, self.terms))
        steps = range(self.step, self.step - taken + steps_per_epoch)
        minibatches = Minibatches(
            images=self.images,
            labels=self.splits.train.labels,
            dynamic=self.splits.dynamic,
            rows=rows[taken:],
            betas=self.schedule.betas(steps),
            learning_rates=self.schedule.learning_rates(steps),
        )
        if minibatches.in_file:
            return minibatches
        return minibatches._replace(rows=sent(minibatches.rows, self.images.device))

    def calibrate(self) -> bool:
        """Set what the likelihood computes from the training set, and return whether there is any."""
        return calibrate(self.model, self.splits)

    def finish_epoch(self, finite: bool = False) -> Record:
        """Return the record of an epoch whose steps are all taken.

        Args:
            finite: whether all weights and Adam's averages are known to be finite.
        """
        terms = torch.cat([part.to(self.terms[-1].device) for part in self.terms]).cpu()
        self._check_finite(terms, finite)
        self.terms, self.epoch_order = [], self.order.get_state()
        loss, rate, distortion = terms.double().mean(0).tolist()
        test = self.splits.test
        of_test = {} if test is None else test_figures(self.model, test)
        held_out = self._validation_loss()
        if held_out is not None:
            self._note_best(held_out)
        return Record(
            epoch=self.epoch,
            step=self.step,
            seconds=self.seconds,
            beta=self.schedule.betas(range(self.step - 1, self.step)).item(),
            loss=loss,
            train_elbo=-(rate + distortion),
            train_rate=rate,
            train_distortion=distortion,
            **of_test,
            validation_loss=held_out,
        )

    def _validation_loss(self) -> float | None:
        """Return the loss of the validation images, by which the best epoch is chosen."""
        if self.splits.validation is None:
            return None
        return validation_loss(self.model, self.splits.validation, self.settings.beta)

    def _note_best(self, loss: float) -> None:
        """Note the epoch if it is the best since the warm-up."""
        if self.epoch > self.settings.warmup_epochs and loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, loss

    def _check_finite(self, terms: Tensor, known: bool) -> None:
        finite = torch.isfinite(terms[:, ::2])  # a point has no rate
        if not finite.all():
            row = int((~finite).any(1).nonzero()[0])
            term = "the loss" if finite[row, 1] else "the distortion"
            raise self._diverged(term, self.step - len(terms) + row + 1)
        if known:
            return
        weights = [*self.model.parameters(), *self.model.buffers()]
        squares = [state["exp_avg_sq"] for state in self.engine.adam_state().values()]
        if not all_finite([*weights, *squares]):  # the other average is in the weights by now
            what = "an average of Adam" if all_finite(weights) else "a weight"
            raise self._diverged(what, self.step)

    def _diverged(self, what: str, step: int) -> FloatingPointError:
        epoch = math.ceil(step / self.schedule.steps_per_epoch)
        return FloatingPointError(
            f"{what} is not finite at epoch {epoch}, step {step};"
            " try a smaller learning_rate, or score 'levels', which is bounded"
        )

    def state(self) -> dict:
        """Return the state in tensors and plain numbers, for any device and any engine to load."""
        return {
            "engine": self.engine.name,
            "step": self.step,
            "seconds": self.seconds,
            "terms": torch.cat([t.cpu() for t in self.terms]) if self.terms else torch.empty(0, 3),
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "order": self.epoch_order,
            "random": self.private.random,
            "model": self.model.state_dict(),
            "adam": self.engine.adam_state(),
            "libraries": self.engine.libraries,
        }

    @one_at_a_time()
    def restore(self, state: dict) -> None:
        """Resume from what `state` returned, exactly to the last bit on the same device.

        Raises:
            ValueError: the state of another model, of other data, or of more epochs than asked for.
        """
        self.unused = False
        try:
            self._load(state)
            with self.private.swapped_in():
                pass  # a random state of the wrong kind raises here
            if len(self.terms[0]) != self.step % self.schedule.steps_per_epoch:
                raise ValueError("another number of images")
        except MISFITS as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise ValueError(f"checkpoint: does not fit this run ({reason})") from error
        if not 0 <= self.step <= self.schedule.steps:
            raise ValueError(f"epochs: {self.epoch} are done already, got {self.settings.epochs}")

    def _load(self, state: dict) -> None:
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        before = state.get("engine", self.engine.name)
        if self.choice.automatic and before != self.engine.name:
            with suppress(ValueError):  # where that engine cannot run here
                choose_engine(before, 0, self.images.device.type)
                self._use(Choice(before, True, "as before"))
        if before != self.engine.name:
            notice(
                f"engine: {self.engine.name} continues what {before} began, which is equal to"
                " rounding and not to the last bit"
            )
        self.terms = [state["terms"].to(self.images)]
        best, self.best_loss = state["best_epoch"], float(state["best_loss"])
        self.best_epoch = None if best is None else int(best)
        if (best is None) != (self.best_loss == math.inf) or math.isnan(self.best_loss):
            raise ValueError("a best epoch goes with its loss")
        self.epoch_order = state["order"].cpu()
        self.order.set_state(self.epoch_order)
        known = [r.cpu() for r in state["random"]][: len(self.private.random)]
        self.private.random[: len(known)] = known
        self.model.load_state_dict(state["model"])
        self.engine.load_adam_state(state["adam"])
        libraries = state.get("libraries")  # of which earlier versions kept nothing
        self.engine.libraries = None if libraries is None else dict(libraries)
        self.engine.count = self.step
