"""A run folder: a configuration, what training it gave, and how to get the model back."""

import csv
import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyro
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae import figures
from pyro_vae.autoencoder import Autoencoder
from pyro_vae.checkpoints import load_checkpoint, save_checkpoint
from pyro_vae.config import RunConfig
from pyro_vae.data import Dataset, draw_binary, load_dataset
from pyro_vae.evaluation.bounds import bits_per_dim, elbo_terms, importance_bound
from pyro_vae.evaluation.exact import linear_optimum
from pyro_vae.evaluation.latents import active_units, collapsed_units, rate_per_component
from pyro_vae.likelihoods import (
    GaussianFixedSigma,
    GaussianOptimalSigma,
    GaussianSharedSigma,
)
from pyro_vae.randomness import seeded
from pyro_vae.training import PRECISIONS, Record, choose_engine, fit
from pyro_vae.vae import VAE, LatentImageModel

MODELS: dict[str, type[LatentImageModel]] = {"vae": VAE, "autoencoder": Autoencoder}
PROGRESS_PICTURES = 8
BITS_PER_DIM_SAMPLES = 16
TRAIN_DRAWS = 2**17


@dataclass(frozen=True)
class Run:
    """A trained model with its folder, its configuration and its columns of metrics."""

    folder: Path
    config: RunConfig
    vae: LatentImageModel
    metrics: dict[str, list[float | None]]
    summary: dict


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


def build_model(
    config: RunConfig, image_shape: tuple[int, int, int], levels: int
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
            levels=levels,
            score=config.score,
            sigma=config.sigma,
        )


def new_folder(config: RunConfig, out: str | Path | None) -> Path:
    """Make the run's folder: `out`, or the first free `runs/DATASET-LIKELIHOOD-NUMBER`.

    Raises:
        ValueError: `out` is there already.
    """
    if out is not None:
        folder = Path(out)
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            raise ValueError(f"out: {folder} is there already; name another folder") from error
        return folder
    kind = config.likelihood if config.model == "vae" else config.model
    for number in itertools.count(1):
        folder = Path("runs", f"{config.dataset}-{kind}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder


def train(
    config: RunConfig,
    out: str | Path | None = None,
    announce: Callable[[Path, RunConfig, LatentImageModel, Dataset], None] | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> Run:
    """Train by a configuration and leave a run folder.

    Args:
        out: the folder, which must not exist; a new one under `runs/` unless told.
        announce: called once before training, with folder, configuration, model and data.
        on_record: called after every epoch.

    Raises:
        ValueError: a configuration that does not fit the data; nothing has been written then.
        FloatingPointError: training diverged.
        OSError: the folder cannot be written.
    """
    device = resolve_device(config.device)
    data = load_dataset(config.dataset, config.data_dir, config.binarize, seed=config.seed)
    batch_size = config.batch_size or min(128, len(data.train))
    config = dataclasses.replace(config, batch_size=batch_size)
    model = build_model(config, data.image_shape, data.levels)
    dtype = PRECISIONS[config.precision]
    train_images = data.train.images.to(device, dtype)
    test_images = data.test.images.to(device, dtype)
    records = fit(
        model,
        train_images,
        test_images=test_images,
        dynamic=data.dynamic,
        objective=config.objective,
        num_particles=config.num_particles,
        beta=config.beta,
        beta_schedule=config.beta_schedule,
        warmup_epochs=config.warmup_epochs,
        epochs=config.epochs,
        batch_size=batch_size,
        learning_rate=config.learning_rate,
        learning_rate_schedule=config.learning_rate_schedule,
        seed=config.seed,
        device=device,
        precision=config.precision,
        engine=config.engine,
    )
    folder = new_folder(config, out)
    writer = RunWriter(folder, config, model, data, train_images, test_images)
    if announce:
        announce(folder, config, model, data)
    with pyro.validation_enabled(False):  # the images are checked; weights, after every epoch
        for record in records:
            writer.add(record)
            if on_record:
                on_record(record)
        writer.finish()
    return load_run(folder)


class RunWriter:
    """Writes a run folder while the run goes on."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        model: LatentImageModel,
        data: Dataset,
        train: Tensor,
        test: Tensor,
    ):
        self.folder, self.config, self.model, self.data = folder, config, model, data
        self.train, self.test = train, test  # resident where the model is
        self.records: list[Record] = []
        (folder / "checkpoints").mkdir()
        (folder / "figures").mkdir()
        config.save(folder / "config.yaml")

    def add(self, record: Record) -> None:
        """Append the row, keep the weights, and now and then draw a picture."""
        self.records.append(record)
        row = {k: _blank(v) for k, v in dataclasses.asdict(record).items()}
        with open(self.folder / "metrics.csv", "a", newline="") as file:
            table = csv.DictWriter(file, row.keys())
            if len(self.records) == 1:
                table.writeheader()
            table.writerow(row)
        last = record.epoch == self.config.epochs
        if last or record.epoch % math.ceil(self.config.epochs / PROGRESS_PICTURES) == 0:
            self.save_checkpoint()
            self._draw_progress(record.epoch)

    def save_checkpoint(self) -> None:
        content = {
            "model": self.model.state_dict(),
            "image_shape": list(self.data.image_shape),
            "levels": self.data.levels,
            "epoch": self.records[-1].epoch,
            "step": self.records[-1].step,
        }
        save_checkpoint(self.folder / "checkpoints" / "last.pt", content)

    def finish(self) -> None:
        """The last figures and `summary.json`."""
        with seeded(self.config.seed, self.test.device):
            reconstructions, samples = self.model.reconstruct(self.test[:16]), self.model.sample(64)
        self._save("reconstructions", figures.reconstruction_grid(
            _array(self.test[:16]), _array(reconstructions)))  # fmt: skip
        title = "Samples: expected images of codes from the prior"
        self._save("samples", figures.image_grid(_array(samples), 8, title))
        self._save("learning_curves", figures.learning_curves(_columns(self.records)))
        if self.config.model == "vae":
            rates = rate_per_component(self.model, self.test[:256])
            self._save("kl_histogram", figures.kl_histogram(_array(rates)))
        summary = _summary(self)
        text = json.dumps(_finite(summary), indent=2, allow_nan=False)
        (self.folder / "summary.json").write_text(text + "\n")

    def _draw_progress(self, epoch: int) -> None:
        x = self.test[:16]
        with seeded(self.config.seed, x.device):
            reconstructions, samples = self.model.reconstruct(x), self.model.sample(32)
        picture = figures.progress(_array(x), _array(reconstructions), _array(samples), epoch)
        self._save(f"progress_{epoch:04d}", picture)

    def _save(self, name: str, figure: Figure) -> None:
        figure.savefig(self.folder / "figures" / f"{name}.png", dpi=120)


def _array(x: Tensor):
    return x.detach().cpu().double().numpy()


def _blank(value):
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _columns(records: list[Record]) -> dict[str, list]:
    rows = [dataclasses.asdict(r) for r in records]
    return {key: [row[key] for row in rows] for key in rows[0]}


def _finite(value):
    """The same with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parameter_counts(model: LatentImageModel) -> dict[str, int]:
    """Trainable numbers in the encoder, the decoder and the likelihood."""
    parts = {"encoder": model.encoder, "decoder": model.decoder, "likelihood": model.likelihood}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def _elbo_summary(model: LatentImageModel, images: Tensor, num_samples: int) -> dict:
    terms = elbo_terms(model, images, num_samples)
    named = {"elbo": terms.elbo, "rate": terms.rate, "distortion": terms.distortion}
    return {f"{name}_nats": values.mean().item() for name, values in named.items()}


def _train_summary(
    model: LatentImageModel, data: Dataset, images: Tensor, optimum: dict | None
) -> dict:
    """The model on its training images; where there is an optimum, noise of z is averaged out."""
    with seeded(0, images.device):
        images = draw_binary(images) if data.dynamic else images
    num_samples = math.ceil(TRAIN_DRAWS / len(images)) if optimum else 1
    return _elbo_summary(model, images, num_samples) | {"elbo_samples": num_samples}


def _test_summary(model: LatentImageModel, data: Dataset, images: Tensor) -> dict:
    is_vae = isinstance(model, VAE)
    summary = _elbo_summary(model, images, 1) | {
        "bits_per_dim": None,
        "bits_per_dim_samples": None,
        "active_units": active_units(model, images),
        "collapsed_units": None,
    }
    if is_vae:
        summary["collapsed_units"] = collapsed_units(rate_per_component(model, images))
    if is_vae and model.likelihood.is_likelihood:
        bound = importance_bound(model, images, BITS_PER_DIM_SAMPLES)
        summary["bits_per_dim"] = bits_per_dim(bound, data.image_shape).mean().item()
        summary["bits_per_dim_samples"] = BITS_PER_DIM_SAMPLES
    return summary


def _linear_optimum(config: RunConfig, model: LatentImageModel, data: Dataset) -> dict | None:
    """What the closed form says of this very run, where there is one."""
    family = model.likelihood
    one_sigma = isinstance(family, (GaussianFixedSigma, GaussianSharedSigma, GaussianOptimalSigma))
    plain = config.model == "vae" and config.network == "linear" and config.score == "density"
    if not (one_sigma and plain and config.objective != "iwae" and config.beta > 0) or data.dynamic:
        return None
    sigma = family.sigma if isinstance(family, GaussianFixedSigma) else None
    optimum = linear_optimum(data.train.images, config.latent_dim, config.beta, sigma)
    return {
        "elbo_nats": optimum.elbo,
        "rate_nats": optimum.rate,
        "distortion_nats": optimum.distortion,
        "sigma": optimum.sigma,
        "active_units": optimum.active,
    }


def _summary(writer: RunWriter) -> dict:
    config, model, data, last = writer.config, writer.model, writer.data, writer.records[-1]
    optimum = _linear_optimum(config, model, data)
    return {
        "dataset": config.dataset,
        "likelihood": config.likelihood,
        "beta": config.beta,
        "latent_dim": config.latent_dim,
        "network": config.network,
        "seed": config.seed,
        "device": str(writer.test.device),
        "engine": choose_engine(config.engine),
        "parameters": parameter_counts(model),
        "epochs": last.epoch,
        "steps": last.step,
        "seconds": last.seconds,
        "steps_per_second": last.step / last.seconds,
        "train": _train_summary(model, data, writer.train, optimum),
        "test": _test_summary(model, data, writer.test),
        "linear_optimum": optimum,
    }


def load_run(folder: str | Path, device: torch.device | str = "cpu") -> Run:
    """A finished run: the model with its last weights, in `eval` mode, on `device`.

    Raises:
        ValueError: no such run, or a file of the folder that cannot be read.
        OSError: the run was never finished, or a file is missing.
    """
    folder = Path(folder)
    config = RunConfig.load(folder / "config.yaml")
    content = load_checkpoint(folder / "checkpoints" / "last.pt", device)
    model = build_model(config, tuple(content["image_shape"]), content["levels"])
    model.to(device, PRECISIONS[config.precision]).eval()
    model.load_state_dict(content["model"])
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    metrics = {k: [float(row[k]) if row[k] else None for row in rows] for k in rows[0]}
    summary = json.loads((folder / "summary.json").read_text())
    return Run(folder, config, model, metrics, summary)
