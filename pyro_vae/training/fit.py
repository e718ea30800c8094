"""`fit` and `fit_many`: training of one model, or of many models of the same architecture."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from pyro_vae.data import Split, check_unit_interval, has_missing
from pyro_vae.data.mapped import looked_at
from pyro_vae.data.own import ImageSource, mapped
from pyro_vae.devices import checked_device
from pyro_vae.models.labels import check_labels
from pyro_vae.models.vae import VAE
from pyro_vae.own_parts import is_import_path, made
from pyro_vae.randomness import one_at_a_time
from pyro_vae.settings import TrainingSettings, default_batch_size
from pyro_vae.training.adam import Adam
from pyro_vae.training.engines import ENGINES, Engine, choose_engine
from pyro_vae.training.ensembles import Ensemble
from pyro_vae.training.epochs import Schedule, Splits
from pyro_vae.training.importance import Estimator
from pyro_vae.training.loop import Training
from pyro_vae.training.objectives import OBJECTIVES, ElboAnalytic, Importance, Loss, Objective
from pyro_vae.training.step import check_step_fits, numbers_compiled

PRECISIONS = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}


@one_at_a_time()
def fit(
    model: VAE,
    images: ImageSource,
    *,
    labels: Tensor | None = None,
    test_images: ImageSource | None = None,
    test_labels: Tensor | None = None,
    validation_images: ImageSource | None = None,
    validation_labels: Tensor | None = None,
    dynamic: bool = False,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] | None = None,
    objective: str = "elbo",
    num_particles: int = 1,
    beta: float = 1.0,
    beta_schedule: str = "constant",
    warmup_epochs: int = 0,
    epochs: int = 100,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    learning_rate_schedule: str = "constant",
    adam_beta1: float = 0.9,
    adam_beta2: float = 0.999,
    adam_epsilon: float = 1e-8,
    clip_norm: float | None = None,
    free_bits: float = 0.0,
    patience: int | None = None,
    seed: int = 0,
    precision: str = "float32",
    engine: str = "auto",
) -> Training:
    """Train the model in place on images (N, C, H, W), yielding a record after each epoch.

    Training happens while you iterate: `for record in fit(...)`. The model moves to `device`, and
    it is in `eval` mode between records. Training has its own random state, so random draws between
    records change nothing.

    Args:
        model: the VAE or autoencoder to train; its weights change.
        images: (N, C, H, W) in [0, 1], with the number of grey levels that the model expects. NaN
            marks a missing pixel: the loss is that of the others, as of `model.given(missing=True)`.
            An array that `np.load(path, mmap_mode="r")` maps stays in its file; it can have the other
            forms of `load_dataset` as well, and whole numbers for pixels. So can the items of a
            torch `Dataset`, which are read as they are needed, by the processes of a `DataLoader`
            if one is given.
        labels: (N,), whole numbers from 0, of a conditional model (default: none).
        test_images: (M, C, H, W), scored after each epoch with one draw of z per image.
        test_labels: (M,), of a conditional model.
        validation_images: (V, C, H, W), scored like `test_images`; early stopping goes by them.
        validation_labels: (V,), of a conditional model.
        dynamic: whether the images are probabilities of binary pixels, which every epoch draws
            again.
        device: where to train, as in `"cuda"`.
        should_stop: called between steps, at least once in 64 of them. Once it returns true,
            `Stopped` is raised and `state` can be saved.
        objective: bound and gradient: the ELBO (elbo, elbo_analytic, stl) or an importance-weighted
            bound; one of `elbo`, `elbo_analytic`, `stl`, `iwae`, `dreg`, `miwae`, `piwae`, `ciwae`,
            or an import path as in `mine.py:Name` (default: elbo).
        num_particles: draws of z per image and step; at least 1 (default: 1).
        beta: factor on the KL: 1 gives the ELBO, more than 1 regularises more; at least 0 (default:
            1).
        beta_schedule: constant, or beta rising from 0 over the warm-up, once or in cycles; one of
            `constant`, `linear`, `cyclical` (default: constant).
        warmup_epochs: epochs over which beta rises from 0; at least 0 (default: 0).
        epochs: passes over the training images; at least 1 (default: 100).
        batch_size: images per step; at least 1 (default: 128, or all of fewer).
        learning_rate: step size of Adam; more than 0 (default: 0.001).
        learning_rate_schedule: constant; cosine, which falls to 0 at the end of training; or
            staged: 3^i epochs at 10^(-i/7) of the rate, for i from 0 to 7; one of `constant`,
            `cosine`, `staged` (default: constant).
        adam_beta1: Adam's decay of the average gradient; from 0 to 0.999999 (default: 0.9).
        adam_beta2: Adam's decay of the average squared gradient; from 0 to 0.999999 (default:
            0.999).
        adam_epsilon: what Adam adds to the root of the average squared gradient; more than 0
            (default: 1e-08).
        clip_norm: the largest norm of a step's gradient; a longer one is scaled down; more than 0
            (default: no clipping).
        free_bits: nats of each component's KL that cost nothing, for elbo_analytic; at least 0
            (default: 0).
        patience: stop after this many epochs without a better loss on held-out validation images,
            and keep the best weights; at least 1 (default: never stop early).
        seed: seed of the weights, the noise and the data order; at least 0 (default: 0).
        precision: number format; bf16 is used in the networks only; one of `float32`, `bf16`,
            `float64` (default: float32).
        engine: how a step is computed: svi is Pyro's own, eager is the same without waiting for the
            device, compiled is machine code that takes up to a minute to make; auto compiles long
            trainings; one of `auto`, `svi`, `eager`, `graph`, `compiled` (default: auto).

    Raises:
        ValueError: arguments that are out of range or contradict each other; images that the
            likelihood cannot score.
        FloatingPointError: a loss that is not finite.

    Example:
        >>> import pyro_vae as pv
        >>> images = pv.load_dataset("digits").train.images
        >>> vae = pv.VAE((1, 8, 8), latent_dim=2, levels=17)
        >>> [record.epoch for record in pv.fit(vae, images, beta=0.5, epochs=2)]
        [1, 2]
    """
    settings = TrainingSettings(**_settings_in(locals()))
    levels = model.likelihood.levels
    splits = Splits(
        Split(mapped(images, levels), labels),
        _split(test_images, test_labels, levels),
        _split(validation_images, validation_labels, levels),
        dynamic,
    )
    training = make_training(model, splits, settings, device, should_stop)
    training.unused = True
    return training


@one_at_a_time()
def fit_many(
    models: Sequence[VAE],
    images: Tensor | Sequence[Tensor],
    *,
    betas: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    learning_rates: Sequence[float] | None = None,
    test_images: Tensor | None = None,
    validation_images: Tensor | None = None,
    dynamic: bool = False,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] | None = None,
    objective: str = "elbo",
    num_particles: int = 1,
    beta: float = 1.0,
    beta_schedule: str = "constant",
    warmup_epochs: int = 0,
    epochs: int = 100,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    learning_rate_schedule: str = "constant",
    adam_beta1: float = 0.9,
    adam_beta2: float = 0.999,
    adam_epsilon: float = 1e-8,
    clip_norm: float | None = None,
    free_bits: float = 0.0,
    patience: int | None = None,
    seed: int = 0,
    precision: str = "float32",
) -> Ensemble:
    """Train models of the same architecture in one batched step, each exactly as `fit` would.

    Training happens while you iterate, and each lap gives the records by the models' numbers. The
    models share everything but their weights, a fixed sigma, and the lists below. If one of them
    diverges, the others continue. The engine is always `compiled`.

    Args:
        models: models of the same class, networks and likelihood.
        images: (N, C, H, W), the same for all models, or one tensor for each model.
        betas: the `beta` of each model (default: the same for all).
        seeds: the `seed` of each model (default: the same for all).
        learning_rates: the `learning_rate` of each model (default: the same for all).
        test_images, validation_images, dynamic, device, should_stop: as for `fit`.
        objective, num_particles, beta, beta_schedule, warmup_epochs, epochs, batch_size: as for `fit`.
        learning_rate, learning_rate_schedule, adam_beta1, adam_beta2, adam_epsilon: as for `fit`.
        clip_norm, free_bits, patience, seed, precision: as for `fit`.

    Raises:
        ValueError: what `fit` refuses; models of different architectures; lists of different
            lengths.
    """
    settings = TrainingSettings(**_settings_in(locals()), engine="compiled")
    lists = {"betas": betas, "seeds": seeds, "learning_rates": learning_rates}
    listed = {name: values for name, values in lists.items() if values is not None}
    if not isinstance(images, Sequence):
        for model in models:
            model.check_shape(images)
        images = [images.to(checked_device(device), PRECISIONS[precision])] * len(models)
    counts = {"images": len(images)} | {name: len(values) for name, values in listed.items()}
    for name, count in counts.items():
        if count != len(models):
            raise ValueError(f"{name}: expected {len(models)}, one per model, got {count}")
    trainings = []
    for n, (model, x) in enumerate(zip(models, images)):
        own: dict[str, Any] = {name.removesuffix("s"): values[n] for name, values in listed.items()}
        splits = Splits(Split(x), _split(test_images), _split(validation_images), dynamic)
        one = make_training(model, splits, replace(settings, **own), device, should_stop)
        trainings.append(one)
    ensemble = Ensemble(trainings)
    ensemble.unused = True
    return ensemble


def _split(
    images: ImageSource | None,
    labels: Tensor | None = None,
    levels: int | None = None,
) -> Split | None:
    return None if images is None else Split(mapped(images, levels), labels)


def _settings_in(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of training among the arguments of a function."""
    return {f.name: arguments[f.name] for f in fields(TrainingSettings) if f.name in arguments}


def make_training(
    model: VAE,
    splits: Splits,
    settings: TrainingSettings,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] | None = None,
) -> Training:
    """Return the training that `fit` returns, given its settings as an object; errors as there."""
    device, images = checked_device(device), splits.train.images
    held_out = {"test_": splits.test, "validation_": splits.validation}
    scored = {name: split for name, split in held_out.items() if split is not None}
    for name, split in ({"": splits.train} | scored).items():
        model.check_shape(split.images, f"{name}images")
        check_labels(model.embedding, split.labels, split.images, f"{name}labels")
    batch_size = settings.batch_size or default_batch_size(len(images))
    settings = replace(settings, batch_size=batch_size)
    _check_against_images(settings, batch_size, splits)
    schedule = Schedule(settings, len(images) // batch_size)
    numbers = numbers_compiled(model, batch_size * settings.num_particles)
    choice = choose_engine(settings.engine, schedule.steps, device.type, numbers)
    check = check_unit_interval if splits.dynamic else model.likelihood.check
    check(looked_at(images))
    for split in scored.values():
        model.likelihood.check(looked_at(split.images))
    model.to(device, PRECISIONS[settings.precision])
    check_step_fits(model, settings, device)
    splits = splits.to(device, PRECISIONS[settings.precision])
    missing = any(has_missing(split.images) for split in (splits.train, *scored.values()))
    model.eval()  # before it becomes another object where pixels are missing
    model = model.given(missing=missing)
    bf16 = settings.precision == "bf16"
    objective = _objective(settings)
    if not model.has_rate and not objective.any_beta:
        raise ValueError("objective: an autoencoder has no importance weights; use elbo")
    loss, adam = Loss(model, objective, settings.num_particles, bf16), Adam.of(settings)

    def make_engine(name: str) -> Engine:
        return ENGINES[name](loss, adam)

    return Training(make_engine, choice, schedule, splits, should_stop or (lambda: False))


def _objective(settings: TrainingSettings) -> Objective:
    """Return the objective of a training, which may be the user's own."""
    if settings.free_bits:
        return ElboAnalytic(settings.free_bits)
    if not is_import_path(settings.objective):
        return OBJECTIVES[settings.objective]
    own = made("objective", settings.objective, OBJECTIVES)
    objective = Importance(own) if isinstance(own, Estimator) else own
    if not isinstance(objective, Objective):
        raise ValueError(f"objective: expected an Objective or an Estimator, got {objective!r}")
    objective.check_beta(settings.beta if settings.beta_schedule == "constant" else math.nan)
    return objective


def _check_against_images(settings: TrainingSettings, batch_size: int, splits: Splits) -> None:
    patience, num_images = settings.patience, len(splits.train)
    if batch_size > num_images:
        raise ValueError(f"batch_size: expected 1 to {num_images} images, got {batch_size}")
    if (patience is None) != (splits.validation is None):
        raise ValueError(f"patience: goes with validation_images, and they with it; got {patience}")
