"""Runs: the data and the model of a configuration, and the model in a run folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pyro_vae.checkpoints import fingerprint, load_checkpoint
from pyro_vae.data import Dataset, load_dataset
from pyro_vae.models.autoencoder import Autoencoder
from pyro_vae.models.vae import VAE, LatentImageModel
from pyro_vae.randomness import seeded
from pyro_vae.runs.card import run_card
from pyro_vae.runs.config import RunConfig, check_run_folder
from pyro_vae.runs.folder import RunFolder
from pyro_vae.settings import DEFAULT_LEVELS, ModelSettings, by_name
from pyro_vae.training.fit import PRECISIONS

MODELS: dict[str, type[LatentImageModel]] = {"vae": VAE, "autoencoder": Autoencoder}


@dataclass(frozen=True)
class Run:
    """A trained model with its folder, its configuration and its columns of metrics.

    The weights are those of the best epoch if the run selects by validation images, and else the
    last ones.

    Args:
        folder: the run's folder.
        config: the settings that it was trained with.
        vae: the model in `eval` mode, a VAE or an autoencoder.
        metrics: the columns of `metrics.csv` by name, with a value for each epoch.
        summary: the content of `summary.json`, or None until the run is finished.
        fingerprint: that of the checkpoint that the weights come from.
    """

    folder: Path
    config: RunConfig
    vae: LatentImageModel
    metrics: dict[str, list[float | None]]
    summary: dict | None
    fingerprint: str | None = None

    def __repr__(self) -> str:
        config, epochs = self.config, len(self.metrics.get("epoch", []))
        settings = f"{config.data_name}, {config.kind}, beta {config.beta:g}"
        result = f"unfinished after {epochs} of {config.epochs} epochs"
        if self.summary is not None:
            result = f"{epochs} epochs{self._test_elbo()}"
        return f"Run({str(self.folder)!r}, {settings}, {config.latent_dim} latents, {result})"

    def _test_elbo(self) -> str:
        elbo = self.summary["test"]["elbo_nats"]
        return "" if elbo is None else f", test ELBO {elbo:.2f}"

    def _repr_html_(self) -> str:
        main = {name: getattr(self.config, name) for name in ("dataset", "likelihood", "beta")}
        settings = main | {"latent_dim": self.config.latent_dim} | self.config.chosen
        test = None if self.summary is None else self.summary["test"]
        return run_card(repr(self), settings, test, RunFolder(self.folder).figures)


def resolve_device(name: str, index: int = 0) -> torch.device:
    """Return the device of a name; `auto` is CUDA where there is a GPU, and else the CPU.

    A task that Slurm's `srun` started, and that sees one GPU, has it to itself whatever its number.

    Args:
        index: the number of the GPU.

    Raises:
        ValueError: CUDA where there is none, or the number of a GPU that does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda asked for, but torch finds no CUDA device; use cpu or auto")
    alone = "SLURM_PROCID" in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ
    if name == "cuda" and alone and torch.cuda.device_count() == 1:
        index = 0
    if name == "cuda" and index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f"device: expected a GPU for each rank of a node, got {count}; use fewer")
    return torch.device(name, index) if name == "cuda" else torch.device(name)


def load_data(config: RunConfig) -> Dataset:
    """Return the data set of a configuration, with validation images if it holds some out.

    The pixels that `binarize` draws once are the same for all seeds, so that runs are compared on
    the same images.

    Raises:
        ValueError: data that do not exist or cannot be read.
    """
    return load_dataset(
        config.dataset,
        config.data_dir,
        config.binarize,
        validation=config.patience is not None or config.validation == "always",
        levels=config.levels,
        limit=config.data_limit,
    )


def load_data_again(config: RunConfig, load: Callable[[RunConfig], Dataset] = load_data) -> Dataset:
    """Return the data set of a run that was trained on it.

    Raises:
        OSError: data that can no longer be read.
    """
    try:
        return load(config)
    except ValueError as error:
        raise OSError(f"the run's data cannot be read any more: {error}") from error


def build_model(
    config: RunConfig, image_shape: tuple[int, int, int], levels: int | None
) -> LatentImageModel:
    """Return the untrained model of a configuration, with weights drawn from `config.seed`."""
    settings = by_name(config, ModelSettings)
    with seeded(config.seed):
        return MODELS[settings.pop("model")](
            image_shape, levels=levels or DEFAULT_LEVELS, **settings
        )


def cautions(config: RunConfig, data: Dataset, model: LatentImageModel) -> list[str]:
    """Return what a reader of the run's figures has to know first."""
    said = []
    if not model.likelihood.is_likelihood:
        said.append(
            f"{config.likelihood} is no likelihood of {data.levels or 'unknown'} grey levels:"
            " the ELBO is not comparable, bits per dimension are not reported"
        )
    if data.levels is None:
        said.append(
            "pixels are floats on no known grid of grey levels: bits per dimension are not"
            " reported; --levels names the grid"
        )
    return said


def load_run(folder: str | Path, device: torch.device | str = "cpu") -> Run:
    """Return a run with a checkpoint, finished or not, and its model in `eval` mode.

    Args:
        folder: the run's folder.
        device: where the model computes, as in `"cuda"`.

    Raises:
        ValueError: a folder without a run or a checkpoint, or with a file that cannot be read.
    """
    files = RunFolder(folder)
    check_run_folder(files.path)
    config = RunConfig.load(files.config)
    path = files.weights(config)
    if not path.exists():
        raise ValueError(f"run: {files.path} has no checkpoint yet; train it first")
    content = load_checkpoint(path)
    try:
        model = build_model(config, tuple(content["image_shape"]), content["levels"])
        model.to(device, PRECISIONS[config.precision]).eval()
        model.load_state_dict(content["model"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"checkpoint: {path} does not fit {files.config}: {reason}") from error
    metrics, summary = files.columns(), files.current_summary(config)
    return Run(files.path, config, model, metrics, summary, fingerprint(path))
