"""Runs: from a configuration to a folder, and from a folder back to the model."""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyro
import torch
from torch import Tensor

from pyro_vae import figures
from pyro_vae.autoencoder import Autoencoder
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.config import RunConfig
from pyro_vae.data import Dataset, is_path, load_dataset
from pyro_vae.evaluation.bounds import Progress, no_progress
from pyro_vae.evaluation.latents import rate_per_component
from pyro_vae.fitting import fit
from pyro_vae.folders import RunFolder, check_free, free_folder, resumable
from pyro_vae.interrupts import Interrupts
from pyro_vae.randomness import seeded
from pyro_vae.report import write_report
from pyro_vae.summaries import summarise
from pyro_vae.training import PRECISIONS, Record, Stopped, Training
from pyro_vae.vae import VAE, LatentImageModel

MODELS: dict[str, type[LatentImageModel]] = {"vae": VAE, "autoencoder": Autoencoder}
PROGRESS_PICTURES = 8
SAVING_SHARE = 0.05  # of the time, at most, goes into checkpoints


@dataclass(frozen=True)
class Run:
    """A model with its folder, its configuration and its columns of metrics.

    The weights are the best on the validation images where the run held some out, else the last.
    `summary` is None until the run is finished.
    """

    folder: Path
    config: RunConfig
    vae: LatentImageModel
    metrics: dict[str, list[float | None]]
    summary: dict | None


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one.

    Raises:
        ValueError: CUDA asked for where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda asked for, but torch finds no CUDA device; use cpu or auto")
    return torch.device(name, 0) if name == "cuda" else torch.device(name)


def load_data(config: RunConfig) -> Dataset:
    """The data set of a configuration, with validation images where it selects by them.

    Raises:
        ValueError: no such data, or unreadable ones.
    """
    return load_dataset(
        config.dataset,
        config.data_dir,
        config.binarize,
        validation=config.patience is not None,
        seed=config.seed,
        levels=config.levels,
    )


def load_data_again(config: RunConfig) -> Dataset:
    """The data set of a run that was trained on it.

    Raises:
        OSError: it cannot be read any more.
    """
    try:
        return load_data(config)
    except ValueError as error:
        raise OSError(f"the run's data cannot be read any more: {error}") from error


def build_model(
    config: RunConfig, image_shape: tuple[int, int, int], levels: int | None
) -> LatentImageModel:
    """The untrained model of a configuration, its weights drawn from `config.seed`."""
    with seeded(config.seed):
        return MODELS[config.model](
            image_shape,
            latent_dim=config.latent_dim,
            likelihood=config.likelihood,
            network=config.network,
            hidden=config.hidden,
            activation=config.activation,
            levels=levels or 256,
            score=config.score,
            sigma=config.sigma,
        )


def train(
    config: RunConfig,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    announce: Callable[[Path, RunConfig, Dataset, Training], None] | None = None,
    on_record: Callable[[Record, bool], None] | None = None,
    interrupts: Interrupts | None = None,
    progress: Progress = no_progress,
) -> Run:
    """Train by a configuration and leave a run folder.

    Args:
        out: the folder, which must not exist; a new one under `runs/` unless told.
        resume: go on in `out` from its checkpoint, to exactly what an uninterrupted run gives;
            start where there is none, return at once where the run is finished.
        overwrite: replace the run in `out`.
        announce: called once before training, with folder, configuration, data and training.
        on_record: called after every epoch, with its record and whether it was the last.
        progress: called with the fraction that is done of measuring the trained model.
        interrupts: signals that end training after its step, when all of it has been saved.

    Raises:
        ValueError: a configuration that does not fit the data or the folder; nothing has been
            written then.
        FloatingPointError: training diverged; the last finite checkpoint stays.
        OSError: the folder cannot be written, or the data of a resumed run cannot be read.
        Interrupted: a signal came; the state has been saved.
    """
    device = resolve_device(config.device)
    if is_path(config.dataset):
        config = dataclasses.replace(config, dataset=str(Path(config.dataset).resolve()))
    folder, checkpoint = None if out is None else RunFolder(out), None
    if (resume or overwrite) and folder is None:
        raise ValueError(f"{'resume' if resume else 'overwrite'}: name the run folder with --out")
    if resume and overwrite:
        raise ValueError("resume: goes on with a run that --overwrite deletes; give one of the two")
    if resume and (previous := resumable(folder, config)):
        config, checkpoint = previous
        if folder.summary.exists() and RunConfig.load(folder.config).epochs == config.epochs:
            return load_run(folder.path)
    elif folder:
        check_free(folder, overwrite or resume)
    data = load_data_again(config) if checkpoint else load_data(config)
    batch_size = config.batch_size or min(128, len(data.train))
    config = dataclasses.replace(config, batch_size=batch_size)
    training = _training(config, data, device, interrupts)
    if checkpoint:
        training.restore(checkpoint)
    folder = folder or free_folder(config)
    if checkpoint:
        folder.go_on(config, training.epoch)
    else:
        folder.start(config)
    writer = _Writer(folder, config, data, training)
    if announce:
        announce(folder.path, config, data, training)
    elif not training.engine.model.likelihood.is_likelihood:
        warnings.warn(no_likelihood(config, data), stacklevel=2)
    with pyro.validation_enabled(False):  # the images are checked; weights, after every epoch
        with interrupts.deferred() if interrupts else nullcontext():
            try:
                for record in training:
                    writer.add(record)
                    if on_record:
                        on_record(record, training.finished)
            except Stopped:
                writer.save()
                interrupts.note = (
                    f" after step {training.step}; all is saved:"
                    f" pyro-vae train --resume --out {folder.path}"
                )
            except FloatingPointError as error:
                kept = folder.last if folder.last.exists() else "none yet"
                raise FloatingPointError(f"{error}; last finite checkpoint: {kept}") from error
        if interrupts:
            interrupts.note = (
                "; training is done and saved, its measuring goes on with:"
                f" pyro-vae train --resume --out {folder.path}"
            )
        writer.finish(progress)
    write_report(folder.path)
    return load_run(folder.path)


def no_likelihood(config: RunConfig, data: Dataset) -> str:
    """What to know of a family that is no likelihood of the data."""
    return (
        f"{config.likelihood} is no likelihood of {data.levels or 'unknown'} grey levels:"
        " the ELBO is not comparable, bits per dimension are not reported"
    )


def _training(
    config: RunConfig, data: Dataset, device: torch.device, interrupts: Interrupts | None
) -> Training:
    model = build_model(config, data.image_shape, data.levels)
    if data.levels is None and not model.likelihood.scores_grey:
        raise ValueError(
            f"levels: {config.likelihood} scores grey levels; name their number with --levels"
        )
    return fit(
        model,
        data.train.images,
        test_images=data.test.images,
        validation_images=data.validation and data.validation.images,
        dynamic=data.dynamic,
        objective=config.objective,
        num_particles=config.num_particles,
        beta=config.beta,
        beta_schedule=config.beta_schedule,
        warmup_epochs=config.warmup_epochs,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        learning_rate_schedule=config.learning_rate_schedule,
        patience=config.patience,
        seed=config.seed,
        device=device,
        precision=config.precision,
        engine=config.engine,
        should_stop=lambda: interrupts is not None and interrupts.pending is not None,
    )


class _Writer:
    """Writes a run folder while the run goes on."""

    def __init__(self, folder: RunFolder, config: RunConfig, data: Dataset, training: Training):
        self.folder, self.config, self.data, self.training = folder, config, data, training
        self.model = training.engine.model
        self.saved_at, self.cost = time.monotonic(), 0.0
        self.about = {"image_shape": list(data.image_shape), "levels": data.levels}

    def add(self, record: Record) -> None:
        """Append the row, keep the weights, and now and then draw a picture."""
        self.folder.add(record)
        every = math.ceil(self.config.epochs / PROGRESS_PICTURES)
        last = self.training.finished
        if last or record.epoch % every == 0:
            self._draw_progress(record.epoch)
        if self.training.best_epoch == record.epoch:
            best = {"epoch": record.epoch, "model": self.model.state_dict()}
            self.folder.save_checkpoint(self.folder.best, self.about | best)
        if last or (time.monotonic() - self.saved_at) * SAVING_SHARE >= self.cost:
            self.save()

    def save(self) -> None:
        """Write the checkpoint that the run can go on from."""
        start = time.monotonic()
        self.folder.save_checkpoint(self.folder.last, self.about | self.training.state())
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - start

    def finish(self, progress: Progress) -> None:
        """The last figures and the summary, of the weights that the run is known by."""
        if self.training.best_epoch is not None:
            self.model.load_state_dict(load_checkpoint(self.folder.best)["model"])
        with seeded(self.config.seed, self.test.device):
            reconstructions, samples = self.model.reconstruct(self.test[:16]), self.model.sample(64)
        save = self.folder.save_figure
        save("reconstructions", figures.reconstruction_grid(
            _array(self.test[:16]), _array(reconstructions)))  # fmt: skip
        title = "Samples: expected images of codes from the prior"
        save("samples", figures.image_grid(_array(samples), 8, title))
        save("learning_curves", figures.learning_curves(self.folder.columns()))
        if self.config.model == "vae":
            rates = rate_per_component(self.model, self.test)
            save("kl_histogram", figures.kl_histogram(_array(rates)))
        self.folder.save_json(
            self.folder.summary, summarise(self.config, self.data, self.training, progress)
        )

    @property
    def test(self) -> Tensor:
        return self.training.test_images

    def _draw_progress(self, epoch: int) -> None:
        x = self.test[:16]
        with seeded(self.config.seed, x.device):
            reconstructions, samples = self.model.reconstruct(x), self.model.sample(32)
        picture = figures.progress(_array(x), _array(reconstructions), _array(samples), epoch)
        self.folder.save_figure(f"progress_{epoch:04d}", picture)


def _array(x: Tensor):
    return x.detach().cpu().double().numpy()


def load_run(folder: str | Path, device: torch.device | str = "cpu") -> Run:
    """A run with a checkpoint, finished or not: the model in `eval` mode on `device`.

    Raises:
        ValueError: no such run, or a file of the folder that cannot be read.
    """
    files = RunFolder(folder)
    if not files.config.exists():
        raise ValueError(f"run: {files.path} is no run folder: it has no config.yaml")
    config = RunConfig.load(files.config)
    path = files.best if config.patience is not None and files.best.exists() else files.last
    if not path.exists():
        raise ValueError(f"run: {files.path} has no checkpoint yet; train it first")
    content = load_checkpoint(path)
    try:
        model = build_model(config, tuple(content["image_shape"]), content["levels"])
        model.to(device, PRECISIONS[config.precision]).eval()
        model.load_state_dict(content["model"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint: {path} does not fit {files.config}: {error}") from error
    return Run(files.path, config, model, files.columns(), files.load_json(files.summary))
