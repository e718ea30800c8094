"""`RunConfig`: all of a run's settings, as the command line, YAML files and run folders have them."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from pyro_vae.data import BINARIZE, check_dataset_name
from pyro_vae.files import replace_file
from pyro_vae.likelihoods.families import LIKELIHOODS, SCORES
from pyro_vae.models.networks import ACTIVATIONS, NETWORKS
from pyro_vae.names import check_name
from pyro_vae.training.engines import ENGINES
from pyro_vae.training.loop import PRECISIONS
from pyro_vae.training.objectives import (
    BETA_SCHEDULES,
    LEARNING_RATE_SCHEDULES,
    OBJECTIVES,
    check_arguments,
)

MODELS = ("vae", "autoencoder")
DEVICES = ("auto", "cpu", "cuda")


def _setting(default, help: str, choices: Iterable[str] | None = None, low: float = -math.inf):
    """A field with what the command line says of it; a number must exceed `low` (an int, reach it)."""
    choices = None if choices is None else tuple(choices)
    return field(default=default, metadata={"help": help, "choices": choices, "low": low})


@dataclass(frozen=True)
class RunConfig:
    """All settings of one run; the defaults train on the embedded digits.

    Raises:
        ValueError: a value of the wrong type or out of range, an unknown name, settings that do
            not go together.
    """

    dataset: str = _setting(
        "digits",
        "a name that 'pyro-vae datasets' lists, or the path of your own .npy, .npz or folder of"
        " pictures",
    )
    data_dir: str = _setting("data", "folder of the published data sets; downloads go there")
    levels: int | None = _setting(
        None,
        "grey levels of your own images, where their type does not tell: floats lie on the grid"
        " v / (levels - 1)",
        low=2,
    )
    binarize: str = _setting(
        "none",
        "make pixels 0 or 1: by a threshold at one half, drawn once, or drawn anew each epoch",
        BINARIZE,
    )
    model: str = _setting("vae", "the VAE, or a plain autoencoder with the same networks", MODELS)
    likelihood: str = _setting(
        "gaussian_shared_sigma", "family of p(x|z), as 'pyro-vae likelihoods' explains", LIKELIHOODS
    )
    score: str = _setting(
        "density",
        "what training maximises: the family's density, or the probability of the grey levels",
        SCORES,
    )
    sigma: float | None = _setting(
        None, "sigma of gaussian_fixed_sigma, in pixel units of [0, 1] (0.25 unless set)", low=0
    )
    network: str = _setting("mlp", "kind of encoder and decoder", NETWORKS)
    hidden: tuple[int, ...] | None = _setting(
        None,
        "hidden sizes of the encoder as in 400,200, mirrored in the decoder;"
        " channels for conv (256,128 for mlp, 32,64 for conv unless set)",
        low=1,
    )
    activation: str = _setting("relu", "function between layers", ACTIVATIONS)
    latent_dim: int = _setting(8, "number of latent components", low=1)
    objective: str = _setting(
        "elbo",
        "sampled ELBO, ELBO with the KL in closed form, or importance-weighted bound",
        OBJECTIVES,
    )
    num_particles: int = _setting(1, "draws of z per image and step", low=1)
    beta: float = _setting(
        1.0, "factor on the KL: at 1 the loss is minus the ELBO, above it regularises more"
    )
    beta_schedule: str = _setting(
        "constant", "beta from 0 over the warm-up, once or in cycles", BETA_SCHEDULES
    )
    warmup_epochs: int = _setting(0, "epochs in which beta rises from 0", low=0)
    epochs: int = _setting(100, "passes over the training images", low=1)
    batch_size: int | None = _setting(
        None, "images per step (the smaller of 128 and all unless set)", low=1
    )
    learning_rate: float = _setting(1e-3, "step size of Adam", low=0)
    learning_rate_schedule: str = _setting(
        "constant",
        "how the learning rate goes over training; cosine ends at 0",
        LEARNING_RATE_SCHEDULES,
    )
    patience: int | None = _setting(
        None,
        "stop after so many epochs without a better loss on validation images held out for it,"
        " and keep the best weights (never unless set)",
        low=1,
    )
    seed: int = _setting(0, "of the weights, the noise and the data order", low=0)
    device: str = _setting("auto", "where to train; auto takes CUDA where there is one", DEVICES)
    precision: str = _setting(
        "float32", "of the numbers; bf16 is for the networks alone", PRECISIONS
    )
    engine: str = _setting(
        "auto",
        "how a step is computed: svi is Pyro's own, eager the same without waiting, compiled the same"
        " as machine code, which takes up to a minute to make; auto compiles for long training",
        ("auto", *ENGINES),
    )

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, check_setting(f, getattr(self, f.name)))
        check_dataset_name(self.dataset)
        check_arguments(
            self.objective, self.num_particles, self.beta, self.beta_schedule,
            self.warmup_epochs, self.epochs,
        )  # fmt: skip
        if self.model == "autoencoder" and self.objective == "iwae":
            raise ValueError("objective: an autoencoder has no importance weights; use elbo")

    def save(self, path: str | Path) -> None:
        """Write YAML that `load` reads back."""
        content = dataclasses.asdict(self)
        content["hidden"] = None if self.hidden is None else list(self.hidden)
        replace_file(path, yaml.safe_dump(content, sort_keys=False))

    @classmethod
    def load(cls, path: str | Path, **flags) -> "RunConfig":
        """Settings from a YAML file, overruled by `flags`.

        Raises:
            ValueError: not a YAML mapping, an unknown key, or a value that does not fit.
        """
        return cls(**load_settings(path) | flags)


def load_settings(path: str | Path) -> dict:
    """What a YAML file sets, by field of `RunConfig`; the values are as they stand there.

    Raises:
        ValueError: not a YAML mapping, or an unknown key.
    """
    try:
        content = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"config: {path} cannot be read: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"config: expected 'key: value' lines in {path}, got {content!r}")
    for key in content:
        check_name(f"config: key in {path}", key, [f.name for f in fields(RunConfig)])
    return content


_NUMBERS = {int: int, int | None: int, float: float, float | None: float}


def check_setting(f: dataclasses.Field, value):
    """The value as the type of its field of `RunConfig`.

    Raises:
        ValueError: of another type, out of range, or an unknown name.
    """
    if value is None and f.default is None:
        return None
    if f.name == "hidden":
        return tuple(_number(f, v, int) for v in _sequence(value))
    if f.type in _NUMBERS:
        return _number(f, value, _NUMBERS[f.type])
    if not isinstance(value, str):
        raise ValueError(f"{f.name}: expected a name, got {value!r}")
    choices = f.metadata["choices"]
    return check_name(f.name, value, choices) if choices else value


def _sequence(value) -> list:
    if isinstance(value, str):
        return [part for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _number(f: dataclasses.Field, value, kind: type) -> int | float:
    low = f.metadata["low"]
    bound = "" if low == -math.inf else f" {'>=' if kind is int else '>'} {low:g}"
    expected = f"{f.name}: expected a {'whole ' if kind is int else ''}number{bound}, got {value!r}"
    try:
        number = kind(value)
        exact = not isinstance(value, bool) and (isinstance(value, str) or number == value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(expected) from error
    if not exact or not math.isfinite(number) or (number < low if kind is int else number <= low):
        raise ValueError(expected)
    return number
