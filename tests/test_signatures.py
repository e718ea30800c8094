"""The arguments of public functions are written out as the settings declare them, and explained."""

import inspect
import re
import textwrap
from dataclasses import dataclass, fields
from typing import get_args

import pytest

import pyro_vae as pv
from pyro_vae.own_parts import OWN
from pyro_vae.settings import ModelSettings, Settings, TrainingSettings, meaning, setting

MODEL = [f for f in fields(ModelSettings) if f.name != "model"]
TRAINING = list(fields(TrainingSettings))
SHOWN = {  # what takes settings, and which
    pv.VAE: MODEL,
    pv.Autoencoder: [f for f in MODEL if f.name not in ("posterior", "prior")],
    pv.fit: TRAINING,
    pv.fit_many: [f for f in TRAINING if f.name != "engine"],
    pv.RunConfig: list(fields(pv.RunConfig)),
}
OBJECTS = {*OWN, "conditional"}  # settings in whose place an object may stand
REFER = (pv.Autoencoder, pv.fit_many)  # whose docstrings name another's arguments
CALLABLE = [name for name in pv.__all__ if callable(getattr(pv, name))]


def explained(thing):
    """The entries under `Args:` in a docstring, by the arguments' names."""
    section = (inspect.getdoc(thing) or "").partition("Args:\n")[2]
    indented = re.split(r"^\S", section, maxsplit=1, flags=re.M)[0]
    names, texts = [], re.split(r"^(\w[\w, ]*): ", textwrap.dedent(indented), flags=re.M)[1:]
    for several, text in zip(texts[::2], texts[1::2]):
        names += [(name, " ".join(text.split())) for name in several.split(", ")]
    return dict(names)


@pytest.mark.parametrize("thing", SHOWN, ids=lambda thing: thing.__name__)
def test_a_setting_is_an_argument_with_its_type_and_default(thing):
    parameters, texts = inspect.signature(thing).parameters, explained(thing)
    for f in SHOWN[thing]:
        kind = parameters[f.name].annotation
        known = set(get_args(f.type) or [f.type])
        assert kind == f.type or (f.name in OBJECTS and known <= set(get_args(kind))), f.name
        assert parameters[f.name].default == f.default, f.name
        expected = "as for" if thing in REFER else f"{meaning(f)}."
        assert texts[f.name].startswith(expected)


@pytest.mark.parametrize("name", CALLABLE)
def test_every_argument_of_a_public_name_is_explained(name):
    thing = getattr(pv, name)
    signature = inspect.signature(thing)
    if name != "measure":  # which takes the arguments of a function of yours
        kinds = {p.kind for p in signature.parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    assert set(signature.parameters) == set(explained(thing))
    assert " object at 0x" not in str(signature) and "<function" not in str(signature)


@pytest.mark.parametrize("function", [pv.fit, pv.fit_many])
def test_every_argument_reaches_the_training(function):
    """Each is given a value that is not its default."""
    x = pv.load_dataset("digits").train.images[:8]
    vae = pv.VAE((1, 8, 8), latent_dim=1, hidden=(2,), levels=17)
    given = {
        "objective": "elbo_analytic", "num_particles": 2, "beta": 2.0, "beta_schedule": "linear",
        "warmup_epochs": 1, "epochs": 3, "batch_size": 4, "learning_rate": 0.01,
        "learning_rate_schedule": "cosine", "patience": 5, "seed": 6, "precision": "float64",
        "adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 0.1, "clip_norm": 2.0, "free_bits": 0.5,
    }  # fmt: skip
    splits = {"test_images": x[:3], "validation_images": x[:2]}
    if function is pv.fit:
        training = pv.fit(vae, x, **given, **splits, engine="eager")
    else:
        (training,) = pv.fit_many([vae], x, **given, **splits).members
    engine = "eager" if function is pv.fit else "compiled"
    assert training.settings == TrainingSettings(**given, engine=engine)
    assert len(training.splits.test) == 3 and len(training.splits.validation) == 2
    training.unused = False


@dataclass(frozen=True)
class Oven(Settings):
    heat: float = setting(180.0, "degrees inside", above=0)
    rack: int = setting(2, "where the cake stands", at_least=1, at_most=4)
    mode: str = setting("fan", "what blows", ("fan", "none"))
    minutes: int | None = setting(None, "time (default: until it is brown)", at_least=1)
    name: str = setting("", "what is written on it")


def test_a_meaning_has_choices_range_and_default():
    assert [meaning(f) for f in fields(Oven)] == [
        "degrees inside; more than 0 (default: 180)",
        "where the cake stands; from 1 to 4 (default: 2)",
        "what blows; one of `fan`, `none` (default: fan)",
        "time; at least 1 (default: until it is brown)",
        "what is written on it",
    ]
