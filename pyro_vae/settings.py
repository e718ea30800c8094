"""The settings of a run: their defaults, ranges and choices; torch is not imported here.

Each setting is declared once, as a field of one of three dataclasses. From that declaration follow
its flag on the command line, its key in YAML, and its check. The arguments of `fit` and `VAE` are
written out where they are; the tests hold them equal to the declarations.
"""

import math
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields

from pyro_vae import names
from pyro_vae.names import check_dataset_name, check_name, shortened
from pyro_vae.own_parts import OWN, is_import_path

DEFAULT_BATCH_SIZE = 128
DATA_LIMIT = 4.0  # gigabytes
MOST_LEVELS = 2**16  # of images with 16 bits
MOST_EPOCHS = 2**63 - 1
MOST_DECAY = 0.999999  # of Adam's averages
DEFAULT_LEVELS = 256  # of models whose data lie on no known grid of grey levels

PLACE = ("device", "engine", "data_dir", "data_limit")  # settings that change no result
FIRST_RUN = {"likelihood": "discretized_logistic", "epochs": 200, "patience": 20}
"""The settings of a run for which none are given: a model of the digits that is worth a look."""
COSTS_ONLY = frozenset({*PLACE, "precision", "seed"})
"""Settings beside which a run still counts as one for which none are given."""


def default_batch_size(num_images: int) -> int:
    """Return the number of images per step where none is set: 128, or all of fewer images."""
    return min(DEFAULT_BATCH_SIZE, num_images)


def setting(
    default,
    help: str,
    choices: Iterable[str] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
):
    """Return a dataclass field that knows its help text, its choices and its bounds."""
    bounds = {"at_least": at_least, "above": above, "at_most": at_most}
    metadata = {"help": help, "choices": choices and tuple(choices)} | bounds
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Base of frozen dataclasses of settings: every value is checked when it is given."""

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, check_setting(f, getattr(self, f.name)))


@dataclass(frozen=True)
class DataSettings(Settings):
    """What the images are."""

    dataset: str = setting(
        "digits",
        "a name listed by 'pyro-vae datasets', the path of your own .npy file, .npz file or folder"
        " of pictures, or of a function that returns images, as in mine.py:make",
    )
    data_dir: str = setting("data", "folder of the published data sets; downloads go there")
    levels: int | None = setting(
        None,
        "number of grey levels of your own images, where the file type does not tell; floats must"
        " lie on the grid v / (levels - 1)",
        at_least=2,
        at_most=MOST_LEVELS,
    )
    binarize: str = setting(
        "none",
        "make pixels 0 or 1: by a threshold at one half, drawn once, or drawn again in each epoch",
        names.BINARIZE,
    )
    validation: str = setting(
        "auto",
        "hold out images from training to choose by: always, or auto, where training stops early;"
        " they are the published validation images, or a tenth of the training images",
        names.VALIDATION,
    )
    train_images: int | None = setting(
        None, "so many training images, always the same random choice (default: all)", at_least=1
    )
    image_size: int | None = setting(
        None, "side of the squares made of pictures in a folder (default: no change)", at_least=1
    )
    channels: int | None = setting(
        None, "make these pictures grey, 1, or coloured, 3 (default: no change)", at_least=1
    )
    data_limit: float = setting(
        DATA_LIMIT, "gigabytes of memory for own images; a larger .npy stays in its file", above=0
    )

    def __post_init__(self):
        super().__post_init__()
        check_dataset_name(self.dataset)
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels: expected 1 or 3, got {self.channels}")


@dataclass(frozen=True)
class ModelSettings(Settings):
    """What the model is made of; all but `model` are arguments of `VAE`."""

    model: str = setting(
        "vae", "the VAE, or a plain autoencoder of the same networks", names.MODELS
    )
    likelihood: str = setting(
        "gaussian_shared_sigma",
        "family of p(x|z); 'pyro-vae likelihoods' explains them",
        names.LIKELIHOODS,
    )
    score: str = setting(
        "density",
        "what training maximises: the family's density, or the probability of the grey levels",
        names.SCORES,
    )
    sigma: float | None = setting(
        None, "sigma of gaussian_fixed_sigma, in pixel units of [0, 1] (default: 0.25)", above=0
    )
    network: str = setting("mlp", "kind of encoder and decoder", names.NETWORKS)
    hidden: tuple[int, ...] | None = setting(
        None,
        "hidden sizes of the encoder, as in 400,200, mirrored in the decoder; channels for conv"
        " and resnet (default: 256,128 for mlp, 32,64 for these)",
        at_least=1,
    )
    activation: str = setting(
        "relu", "function between layers; gated is A x * sigmoid(B x)", names.ACTIVATIONS
    )
    initialisation: str = setting(
        "torch",
        "how weights start: as torch draws them, or Glorot's uniform",
        names.INITIALISATIONS,
    )
    decoder_features: int | None = setting(
        None,
        "features per pixel that the decoder gives for every likelihood alike; one linear head for"
        " all pixels makes the likelihood's outputs of them (default: no head)",
        at_least=1,
    )
    latent_dim: int = setting(8, "number of latent components", at_least=1)
    posterior: str = setting("normal", "family of q(z|x)", names.POSTERIORS)
    prior: str = setting("normal", "family of p(z)", names.PRIORS)
    conditional: int | None = setting(
        None, "number of classes y in p(x|z,y) and q(z|x,y) (default: no labels)", at_least=1
    )

    def __post_init__(self):
        super().__post_init__()
        if self.model == "autoencoder" and self.posterior == "normal":
            object.__setattr__(self, "posterior", "point")
        elif self.model == "autoencoder" and self.posterior != "point":
            raise ValueError(f"posterior: that of an autoencoder is a point, got {self.posterior}")
        elif self.posterior == "point":
            object.__setattr__(self, "model", "autoencoder")
        if self.model == "autoencoder" and self.prior != "normal":
            raise ValueError(f"prior: an autoencoder has none to learn, got {self.prior}")


@dataclass(frozen=True)
class TrainingSettings(Settings):
    """How a model is trained: the arguments of `fit`.

    Raises:
        ValueError: a value of the wrong type or out of range, an unknown name, settings that do
            not go together.
    """

    objective: str = setting(
        "elbo",
        "bound and gradient: the ELBO (elbo, elbo_analytic, stl) or an importance-weighted bound",
        names.OBJECTIVES,
    )
    num_particles: int = setting(1, "draws of z per image and step", at_least=1)
    beta: float = setting(
        1.0, "factor on the KL: 1 gives the ELBO, more than 1 regularises more", at_least=0
    )
    beta_schedule: str = setting(
        "constant",
        "constant, or beta rising from 0 over the warm-up, once or in cycles",
        names.BETA_SCHEDULES,
    )
    warmup_epochs: int = setting(0, "epochs over which beta rises from 0", at_least=0)
    epochs: int = setting(100, "passes over the training images", at_least=1, at_most=MOST_EPOCHS)
    batch_size: int | None = setting(
        None, f"images per step (default: {DEFAULT_BATCH_SIZE}, or all of fewer)", at_least=1
    )
    learning_rate: float = setting(1e-3, "step size of Adam", above=0)
    learning_rate_schedule: str = setting(
        "constant",
        "constant; cosine, which falls to 0 at the end of training; or staged: 3^i epochs at"
        " 10^(-i/7) of the rate, for i from 0 to 7",
        names.LEARNING_RATE_SCHEDULES,
    )
    adam_beta1: float = setting(
        0.9, "Adam's decay of the average gradient", at_least=0, at_most=MOST_DECAY
    )
    adam_beta2: float = setting(
        0.999, "Adam's decay of the average squared gradient", at_least=0, at_most=MOST_DECAY
    )
    adam_epsilon: float = setting(
        1e-8, "what Adam adds to the root of the average squared gradient", above=0
    )
    clip_norm: float | None = setting(
        None,
        "the largest norm of a step's gradient; a longer one is scaled down (default: no clipping)",
        above=0,
    )
    free_bits: float = setting(
        0.0, "nats of each component's KL that cost nothing, for elbo_analytic", at_least=0
    )
    patience: int | None = setting(
        None,
        "stop after this many epochs without a better loss on held-out validation images, and"
        " keep the best weights (default: never stop early)",
        at_least=1,
    )
    seed: int = setting(
        0, "seed of the weights, the noise and the data order", at_least=0, at_most=2**63 - 1
    )
    precision: str = setting(
        "float32", "number format; bf16 is used in the networks only", names.PRECISIONS
    )
    engine: str = setting(
        "auto",
        "how a step is computed: svi is Pyro's own, eager is the same without waiting for the"
        " device, compiled is machine code that takes up to a minute to make; auto compiles long"
        " trainings",
        ("auto", *names.ENGINES),
    )

    def __post_init__(self):
        super().__post_init__()
        scaled = self.beta != 1 or self.beta_schedule != "constant"
        if scaled and self.objective in set(names.OBJECTIVES).difference(names.ELBOS):
            raise ValueError(
                f"beta: {self.objective} is a bound at beta 1 only, got {self.beta} with schedule"
                f" {self.beta_schedule}"
            )
        if self.free_bits and self.objective != "elbo_analytic":
            raise ValueError(f"free_bits: go with objective elbo_analytic, got {self.objective}")
        if (self.beta_schedule == "constant") != (self.warmup_epochs == 0):
            raise ValueError(
                "warmup_epochs: goes with beta_schedule linear or cyclical, which need at least 1,"
                f" got {self.warmup_epochs} with {self.beta_schedule}"
            )
        if self.warmup_epochs > self.epochs:
            ends = f"{self.warmup_epochs} > {self.epochs} epochs"
            raise ValueError(f"warmup_epochs: would end after training, {ends}")


def by_name(settings: Settings, kind: type[Settings]) -> dict:
    """Return the values that `settings` has for the fields of `kind`, by name."""
    return {f.name: getattr(settings, f.name) for f in fields(kind)}


def setting_text(value: object) -> str:
    """Return a setting's value as it is written after its flag."""
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def bounds_text(f: Field) -> str:
    """Return the range of a setting in words, as in `at least 1`; nothing where it has none."""
    at_least, above, at_most = (f.metadata[bound] for bound in ("at_least", "above", "at_most"))
    if above is not None:
        return f"more than {above:g}"
    if at_least is None:
        return ""
    known_end = at_most is not None and at_most < MOST_EPOCHS
    return f"from {at_least:g} to {at_most:,}" if known_end else f"at least {at_least:g}"


def meaning(f: Field) -> str:
    """Return what a setting means, with its choices, its range and its default."""
    text, _, default = f.metadata["help"].partition(" (default: ")
    default = default.removesuffix(")")
    if f.default is not None:
        default = setting_text(f.default)
    if f.metadata["choices"]:
        text += "; one of " + ", ".join(f"`{name}`" for name in f.metadata["choices"])
        text += ", or an import path as in `mine.py:Name`" if f.name in OWN else ""
    elif bounds_text(f):
        text += "; " + bounds_text(f)
    return f"{text} (default: {default})" if default else text


# --- checks ----------------------------------------------------------------------------------------
_NUMBERS: dict[object, type] = {int: int, int | None: int, float: float, float | None: float}


def check_setting(f: Field, value):
    """Return the value, converted to the type of its field.

    Raises:
        ValueError: a value of another type, a number out of range, an unknown name.
    """
    if value is None and f.default is None:
        return None
    if f.name == "hidden":
        return tuple(_number(f, size, int) for size in _sequence(value))
    if f.type in _NUMBERS:
        return _number(f, value, _NUMBERS[f.type])
    if f.name in ("dataset", "data_dir", "init_from") and isinstance(value, (str, os.PathLike)):
        value = os.path.expanduser(value)
    if not isinstance(value, str):
        raise ValueError(f"{f.name}: expected a name, got {shortened(value)}")
    choices = None if f.name in OWN and is_import_path(value) else f.metadata["choices"]
    return check_name(f.name, value, choices) if choices else value


def _sequence(value) -> list:
    if isinstance(value, str):
        return [part for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _number(f: Field, value, kind: type) -> int | float:
    missed = _missed_bound(f, -math.inf)
    with suppress(TypeError, ValueError, OverflowError):
        number = kind(value)
        exact = not isinstance(value, bool) and (isinstance(value, str) or number == value)
        if exact and math.isfinite(number):
            missed = _missed_bound(f, number)
            if missed is None:
                return number
    number = "whole number" if kind is int else "number"
    raise ValueError(f"{f.name}: expected a {number}{missed or ''}, got {shortened(value)}")


def _missed_bound(f: Field, number: float) -> str | None:
    """Return the bound that a number misses, or None."""
    at_least, above, at_most = (f.metadata[bound] for bound in ("at_least", "above", "at_most"))
    if at_most is not None and number > at_most:
        return f" <= {at_most:,}"
    if at_least is not None and number < at_least:
        return f" >= {at_least:g}"
    return f" > {above:g}" if above is not None and number <= above else None
