"""Training from arguments: one model, or many of one shape at once."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from pyro_vae.data import check_unit_interval
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.names import check_name
from pyro_vae.training.distributed import Ranked
from pyro_vae.training.engines import ENGINES, choose_engine
from pyro_vae.training.ensembles import Ensemble
from pyro_vae.training.loop import PRECISIONS, Training
from pyro_vae.training.objectives import (
    BETA_SCHEDULES,
    LEARNING_RATE_SCHEDULES,
    OBJECTIVES,
    check_arguments,
)
from pyro_vae.training.processes import ALONE, Ranks


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
    ranks: Ranks = ALONE,
) -> Training:
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
        engine: `svi`, `eager`, `compiled` (compiling takes up to a minute), or `auto` for one of
            the last two: `choice` of what this gives says which, and why.
        validation_images: (V, C, H, W), scored after each epoch like `test_images`.
        patience: training ends after so many epochs without a lower validation loss, counted from
            the warm-up's end; whoever iterates keeps the weights of `best_epoch`.
        should_stop: asked before every step; once true, `Stopped` is raised and `state` can be
            saved.
        ranks: processes that train together, each of which calls this with the same arguments, in
            `ranks.joined()`; `batch_size` is the sum of their shares. All have the same weights.

    Raises:
        ValueError: arguments out of range, or that do not go together; images that the
            likelihood cannot score.
        FloatingPointError: a loss that is not finite.
        RankLost: another rank is gone.
    """
    batch_size = min(128, len(images)) if batch_size is None else batch_size
    check_arguments(objective, num_particles, beta, beta_schedule, warmup_epochs, epochs)
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")
    check_name("learning_rate_schedule", learning_rate_schedule, LEARNING_RATE_SCHEDULES)
    if not 1 <= batch_size <= len(images):
        raise ValueError(f"batch_size: expected 1 to {len(images)} images, got {batch_size}")
    if batch_size % ranks.count:
        raise ValueError(
            f"batch_size: expected a multiple of {ranks.count}, the number of ranks, got"
            f" {batch_size}"
        )
    if (patience is None) != (validation_images is None) or (patience is not None and patience < 1):
        raise ValueError(f"patience: expected at least 1, with validation_images; got {patience}")
    choice = choose_engine(engine, epochs * (len(images) // batch_size))
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
    bf16 = partial(torch.autocast, images.device.type, torch.bfloat16)
    options = (OBJECTIVES[objective], num_particles, bf16 if precision == "bf16" else nullcontext)
    several = {name: partial(Ranked, name, ranks) for name in ENGINES}
    engines = several if ranks.count > 1 else ENGINES
    return Training(
        make_engine=lambda name: engines[name](model, *options),
        choice=choice,
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
        seed=seed,
        should_stop=should_stop,
        ranks=ranks,
    )


def fit_many(
    models: Sequence[LatentImageModel],
    images: Tensor | Sequence[Tensor],
    *,
    betas: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    learning_rates: Sequence[float] | None = None,
    **options,
) -> Ensemble:
    """Train models of one shape at once, each exactly as `fit` would by itself.

    All of them take a step in one compiled function. They share everything but weights, a fixed
    sigma, and what is listed here; where one diverges, the others go on.

    Args:
        models: of the same class, networks and likelihood.
        images: (N, C, H, W), the same for all, or a tensor for each.
        betas, seeds, learning_rates: one for each model; those of `fit` unless told.
        options: `test_images`, `epochs` and the like, as in `fit`; `engine` is `compiled`.

    Raises:
        ValueError: what `fit` refuses; models of different shapes; lists of different lengths.
    """
    each = {"betas": betas, "seeds": seeds, "learning_rates": learning_rates}
    each = {name: values for name, values in each.items() if values is not None}
    if isinstance(images, Tensor):
        device, dtype = (
            options.get("device", "cpu"),
            PRECISIONS[options.get("precision", "float32")],
        )
        images = [images.to(device, dtype)] * len(models)
    for name, values in {"images": images, **each}.items():
        if len(values) != len(models):
            raise ValueError(f"{name}: expected {len(models)}, one per model, got {len(values)}")
    names = [name.removesuffix("s") for name in each]
    rows = [dict(zip(names, row)) for row in zip(*each.values())] or [{}] * len(models)
    options["engine"] = "compiled"
    return Ensemble([fit(m, x, **options, **row) for m, x, row in zip(models, images, rows)])
