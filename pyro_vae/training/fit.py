"""`fit` and `fit_many`: training of one model, or of many models of the same architecture."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pyro_vae.data import check_unit_interval
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.settings import TrainingSettings, default_batch_size
from pyro_vae.signatures import takes_arguments_of, takes_settings
from pyro_vae.training.choice import choose_engine
from pyro_vae.training.distributed import Distributed
from pyro_vae.training.engines import ENGINES, Engine
from pyro_vae.training.ensembles import Ensemble
from pyro_vae.training.loop import Splits, Training
from pyro_vae.training.memory import check_step_fits
from pyro_vae.training.objectives import OBJECTIVES
from pyro_vae.training.processes import ALONE, Ranks
from pyro_vae.training.schedule import Schedule

PRECISIONS = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}


@takes_settings(TrainingSettings)
def fit(
    model: LatentImageModel,
    images: Tensor,
    *,
    test_images: Tensor | None = None,
    validation_images: Tensor | None = None,
    dynamic: bool = False,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] | None = None,
    ranks: Ranks = ALONE,
    **settings,
) -> Training:
    """Train the model in place on images (N, C, H, W), yielding a record after each epoch.

    The model moves to `device`, and it is in `eval` mode between records. Training has its own
    random state, so random draws between records change nothing.

    Args:
        model: the VAE or autoencoder to train; its weights change.
        images: (N, C, H, W) in [0, 1], with the number of grey levels that the model expects.
        test_images: (M, C, H, W), scored after each epoch with one draw of z per image.
        validation_images: (V, C, H, W), scored like `test_images`; early stopping goes by them.
        dynamic: whether the images are probabilities of binary pixels, which every epoch draws
            again.
        device: where to train, as in `"cuda"`.
        should_stop: called between steps, at least once in 64 of them. Once it returns true,
            `Stopped` is raised and `state` can be saved.
        ranks: processes that train together (default: this process alone). Each of them calls `fit`
            with the same arguments inside `ranks.joined()`. `batch_size` is the sum of their
            shares, and all of them have the same weights.
        {settings}

    Raises:
        ValueError: arguments that are out of range or contradict each other; images that the
            likelihood cannot score.
        FloatingPointError: a loss that is not finite.
        RankLost: another rank was lost.

    Example:
        >>> import pyro_vae as pv
        >>> images = pv.load_dataset("digits").train.images
        >>> vae = pv.VAE((1, 8, 8), latent_dim=2, levels=17)
        >>> [record.epoch for record in pv.fit(vae, images, beta=0.5, epochs=2)]
        [1, 2]
    """
    asked = TrainingSettings(**settings)
    batch_size = asked.batch_size or default_batch_size(len(images))
    asked = replace(asked, batch_size=batch_size)
    _check_against_images(batch_size, asked.patience, len(images), validation_images, ranks)
    schedule = Schedule(asked, len(images) // batch_size)
    choice = choose_engine(asked.engine, schedule.steps, torch.device(device).type, ranks.count)
    check_unit_interval(images) if dynamic else model.likelihood.check(images)
    for others in (test_images, validation_images):
        if others is not None:
            model.likelihood.check(others)
    dtype = PRECISIONS[asked.precision]
    model.to(device, dtype)
    check_step_fits(model, asked, torch.device(device))
    test, validation = (
        x if x is None else x.to(device, dtype) for x in (test_images, validation_images)
    )
    splits = Splits(images.to(device, dtype), test, validation, dynamic)
    make_engine = partial(_make_engine, model, asked, splits.train.device, ranks)
    return Training(make_engine, choice, schedule, splits, should_stop or _never, ranks)


def _never() -> bool:
    return False


def _check_against_images(
    batch_size: int,
    patience: int | None,
    num_images: int,
    validation: Tensor | None,
    ranks: Ranks,
) -> None:
    if batch_size > num_images or num_images == 0:
        raise ValueError(f"batch_size: expected 1 to {num_images} images, got {batch_size}")
    if batch_size % ranks.count:
        raise ValueError(
            f"batch_size: expected a multiple of {ranks.count}, the number of ranks, got"
            f" {batch_size}"
        )
    if (patience is None) != (validation is None):
        raise ValueError(f"patience: goes with validation_images, and they with it; got {patience}")


def _make_engine(
    model: LatentImageModel,
    settings: TrainingSettings,
    device: torch.device,
    ranks: Ranks,
    name: str,
) -> Engine:
    bf16 = partial(torch.autocast, device.type, torch.bfloat16)
    autocast = bf16 if settings.precision == "bf16" else nullcontext
    options = (model, OBJECTIVES[settings.objective], settings.num_particles, autocast)
    return ENGINES[name](*options) if ranks.count == 1 else Distributed(name, ranks, *options)


@takes_arguments_of(fit, leave_out=("ranks", "engine"))
def fit_many(
    models: Sequence[LatentImageModel],
    images: Tensor | Sequence[Tensor],
    *,
    betas: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    learning_rates: Sequence[float] | None = None,
    **options,
) -> Ensemble:
    """Train models of the same architecture in one batched step, each exactly as `fit` would.

    The models share everything but their weights, a fixed sigma, and the lists below. If one of
    them diverges, the others continue. The engine is always `compiled`.

    Args:
        models: models of the same class, networks and likelihood.
        images: (N, C, H, W), the same for all models, or one tensor for each model.
        betas: the `beta` of each model (default: the same for all).
        seeds: the `seed` of each model (default: the same for all).
        learning_rates: the `learning_rate` of each model (default: the same for all).
        {settings}

    Raises:
        ValueError: what `fit` refuses; models of different architectures; lists of different
            lengths.
    """
    given = {"betas": betas, "seeds": seeds, "learning_rates": learning_rates}
    listed = {name: values for name, values in given.items() if values is not None}
    if isinstance(images, Tensor):
        dtype = PRECISIONS[options.get("precision", "float32")]
        images = [images.to(options.get("device", "cpu"), dtype)] * len(models)
    counts = {"images": len(images)} | {name: len(values) for name, values in listed.items()}
    for name, count in counts.items():
        if count != len(models):
            raise ValueError(f"{name}: expected {len(models)}, one per model, got {count}")
    options["engine"] = "compiled"
    trainings = []
    for n, (model, x) in enumerate(zip(models, images)):
        own = {name.removesuffix("s"): values[n] for name, values in listed.items()}
        trainings.append(fit(model, x, **options | own))
    return Ensemble(trainings)
