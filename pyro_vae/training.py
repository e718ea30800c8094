"""Training: a short loop that yields a record per epoch, under one of several engines."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import pyro
import torch
from torch import Tensor

from pyro_vae.data import check_unit_interval, draw_binary
from pyro_vae.evaluation.bounds import elbo_terms
from pyro_vae.evaluation.latents import chunks
from pyro_vae.names import check_name
from pyro_vae.objectives import (
    BETA_SCHEDULES,
    LEARNING_RATE_SCHEDULES,
    OBJECTIVES,
    Objective,
    Recorder,
    Terms,
    per_image,
)
from pyro_vae.randomness import PrivateState
from pyro_vae.vae import LatentImageModel

PRECISIONS = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Record:
    """One epoch. Nats per image; the training figures are means over its steps, rate and
    distortion at beta = 1; `seconds` counts training only, from the start; the test figures are
    measured at the epoch's end, None without test images."""

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


class Engine(ABC):
    """A way to take one step of an objective on one minibatch."""

    validates: bool  # whether Pyro validates as the user has it, or not at all

    def __init__(self, model: LatentImageModel, objective: type[Objective], num_particles: int):
        self.model, self.objective, self.num_particles = model, objective, num_particles

    @abstractmethod
    def step(self, x: Tensor, beta: float, learning_rate: float) -> Terms:
        """Update the parameters in place; the terms are those before the update."""


class Svi(Engine):
    """The definition: `pyro.infer.SVI` with Pyro's ELBOs and Adam."""

    validates = True

    def __init__(self, model, objective, num_particles):
        super().__init__(model, objective, num_particles)
        self.optimizer = pyro.optim.Adam({"lr": 1e-3})
        self.recorders = Recorder(), Recorder()

    def step(self, x, beta, learning_rate):
        in_guide, in_model = self.recorders
        loss = self.objective.estimator(self.num_particles, len(x))
        model, guide = per_image(self.model.model), per_image(self.model.guide)
        svi = pyro.infer.SVI(in_model(model), in_guide(guide), self.optimizer, loss)
        self.optimizer.pt_optim_args["lr"] = learning_rate
        for adam in self.optimizer.optim_objs.values():
            adam.param_groups[0]["lr"] = learning_rate
        value = x.new_tensor(svi.step(x, beta))
        with torch.no_grad():
            return self.objective.score(in_guide.sites, in_model.sites)._replace(loss=value)


class Eager(Engine):
    """The sync-free sum over traces, and torch's fused Adam."""

    validates = False

    def __init__(self, model, objective, num_particles):
        super().__init__(model, objective, num_particles)
        self.optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step(self, x, beta, learning_rate):
        self.optimizer.param_groups[0]["lr"] = learning_rate
        programs = self.model.model, self.model.guide
        with self.model.unregistered():
            terms = self.objective.terms(*programs, x, beta, self.num_particles)
        self.optimizer.zero_grad()
        terms.loss.backward()
        self.optimizer.step()
        return terms._replace(loss=terms.loss.detach())


ENGINES: dict[str, type[Engine]] = {"svi": Svi, "eager": Eager}


def choose_engine(name: str) -> str:
    """The engine that a name stands for: `auto` is the fastest.

    Raises:
        ValueError: an unknown name.
    """
    check_name("engine", name, ["auto", *ENGINES])
    return "eager" if name == "auto" else name


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
) -> Iterator[Record]:
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
        engine: `svi`, `eager`, or `auto` for the fastest.

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
    chosen = ENGINES[choose_engine(engine)]
    dtype = PRECISIONS[check_name("precision", precision, PRECISIONS)]
    check_unit_interval(images) if dynamic else model.likelihood.check(images)
    if test_images is not None:
        model.likelihood.check(test_images)
    model.to(device, dtype)
    images = images.to(device, dtype)
    test_images = None if test_images is None else test_images.to(device, dtype)
    steps = len(images) // batch_size
    training = Training(
        engine=chosen(model, OBJECTIVES[objective], num_particles),
        images=images,
        dynamic=dynamic,
        batch_size=batch_size,
        beta_at=lambda step: beta * BETA_SCHEDULES[beta_schedule](step, warmup_epochs * steps),
        learning_rate_at=lambda step: (
            learning_rate * LEARNING_RATE_SCHEDULES[learning_rate_schedule](step, epochs * steps)
        ),
        autocast=precision == "bf16",
        seed=seed,
    )
    return _records(training, test_images, epochs)


def check_arguments(
    objective: str,
    num_particles: int,
    beta: float,
    beta_schedule: str,
    warmup_epochs: int,
    epochs: int,
) -> None:
    """Raise a ValueError where these arguments of `fit` are out of range or do not go together."""
    check_name("objective", objective, OBJECTIVES)
    check_name("beta_schedule", beta_schedule, BETA_SCHEDULES)
    if num_particles < 1 or epochs < 1:
        raise ValueError(f"num_particles, epochs: expected >= 1, got {num_particles}, {epochs}")
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta: expected a number >= 0, got {beta}")
    if not OBJECTIVES[objective].any_beta and (beta != 1 or beta_schedule != "constant"):
        raise ValueError(
            f"beta: {objective} is a bound at beta 1 only, got {beta} with schedule {beta_schedule}"
        )
    if (beta_schedule == "constant") != (warmup_epochs == 0):
        raise ValueError(
            "warmup_epochs: goes with beta_schedule linear or cyclical, which need at least 1,"
            f" got {warmup_epochs} with {beta_schedule}"
        )
    if not 0 <= warmup_epochs <= epochs:
        raise ValueError(
            f"warmup_epochs: would end after training, {warmup_epochs} > {epochs} epochs"
        )


class Training:
    """The state of a run between epochs."""

    def __init__(
        self,
        engine: Engine,
        images: Tensor,
        dynamic: bool,
        batch_size: int,
        beta_at: Callable[[int], float],
        learning_rate_at: Callable[[int], float],
        autocast: bool,
        seed: int,
    ):
        self.engine, self.images, self.dynamic = engine, images, dynamic
        self.batch_size = batch_size
        self.beta_at, self.learning_rate_at = beta_at, learning_rate_at
        bf16 = partial(torch.autocast, images.device.type, torch.bfloat16)
        self.autocast = bf16 if autocast else nullcontext
        self.order = torch.Generator().manual_seed(seed)
        validate = engine.validates and pyro.infer.util.is_validation_enabled()
        self.private = PrivateState(seed, images.device, validate)
        self.step, self.seconds, self.beta = 0, 0.0, beta_at(0)

    def epoch(self) -> tuple[float, float, float]:
        """Every image once, in a fresh order, the remainder dropped: mean loss, rate, distortion."""
        start = time.perf_counter()
        self.engine.model.train()
        with self.private.swapped_in():
            images = draw_binary(self.images) if self.dynamic else self.images
            terms = torch.stack(
                [self._step(images.index_select(0, rows)) for rows in self._minibatches()]
            )
            terms = terms.cpu()  # the epoch's one sync
            self.engine.model.eval()
            self._calibrate(images)
        self.seconds += time.perf_counter() - start
        self._check_finite(terms)
        return tuple(terms.double().mean(0).tolist())

    def _minibatches(self) -> Tensor:
        steps = len(self.images) // self.batch_size
        order = torch.randperm(len(self.images), generator=self.order)
        return order[: steps * self.batch_size].view(steps, -1).to(self.images.device)

    def _step(self, x: Tensor) -> Tensor:
        self.beta = self.beta_at(self.step)
        self.step += 1
        try:
            with self.autocast():
                terms = self.engine.step(x, self.beta, self.learning_rate_at(self.step - 1))
        except ValueError as error:  # Pyro's validation, where the engine lets it look
            raise self._diverged("a distribution's argument", self.step) from error
        return torch.stack(terms)

    @torch.no_grad()
    def _calibrate(self, images: Tensor) -> None:
        model = self.engine.model
        model.likelihood.calibrate(
            (x, model.outputs(model.encode(x).sample())) for x in chunks(images)
        )

    def _check_finite(self, terms: Tensor) -> None:
        bad = ~torch.isfinite(terms[:, [0, 2]])
        if bad.any():
            row = int(bad.any(1).nonzero()[0])
            term = "the distortion" if bad[row, 1] else "the loss"
            raise self._diverged(term, self.step - len(terms) + row + 1)
        if not all(torch.isfinite(p).all() for p in self.engine.model.parameters()):
            raise self._diverged("a weight", self.step)

    def _diverged(self, what: str, step: int) -> FloatingPointError:
        epoch = math.ceil(step / (len(self.images) // self.batch_size))
        return FloatingPointError(
            f"{what} is not finite at epoch {epoch}, step {step};"
            " try a smaller learning_rate, or score 'levels', which is bounded"
        )


def _records(training: Training, test_images: Tensor | None, epochs: int) -> Iterator[Record]:
    for epoch in range(1, epochs + 1):
        loss, rate, distortion = training.epoch()
        record = (epoch, training.step, training.seconds, training.beta, loss)
        train = (-(rate + distortion), rate, distortion)
        test = ()
        if test_images is not None:
            with pyro.validation_enabled(False):
                scored = elbo_terms(training.engine.model, test_images)
            test = (t.mean().item() for t in (scored.elbo, *scored))
        yield Record(*record, *train, *test)
