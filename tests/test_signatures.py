"""Signatures and docstrings show every argument, and settings as they are declared."""

import inspect
import pydoc
from dataclasses import dataclass, fields

import pytest

import pyro_vae as pv
from pyro_vae.settings import ModelSettings, Settings, TrainingSettings, setting
from pyro_vae.signatures import (
    explained_arguments,
    explains_settings,
    meaning,
    takes_arguments_of,
    takes_settings,
)

MODEL = [f for f in fields(ModelSettings) if f.name != "model"]
TRAINING = list(fields(TrainingSettings))
SHOWN = [  # what takes settings, and which
    (pv.VAE, MODEL),
    (pv.Autoencoder, MODEL),
    (pv.fit, TRAINING),
    (pv.fit_many, [f for f in TRAINING if f.name != "engine"]),
    (pv.RunConfig, list(fields(pv.RunConfig))),
]
CASES = [
    pytest.param(thing, f, id=f"{thing.__name__}-{f.name}") for thing, kind in SHOWN for f in kind
]
CALLABLE = [name for name in pv.__all__ if callable(getattr(pv, name))]


def words(text):
    """Without the bars that `help` draws down its left side."""
    return " ".join(text.replace("|", " ").split())


@pytest.mark.parametrize("thing, f", CASES)
def test_a_setting_is_an_argument_with_its_type_and_default(thing, f):
    parameter = inspect.signature(thing).parameters[f.name]
    assert parameter.annotation == f.type
    assert parameter.default == f.default


@pytest.mark.parametrize("thing, f", CASES)
def test_help_gives_what_a_setting_means(thing, f):
    shown = words(pydoc.render_doc(thing, renderer=pydoc.plaintext))
    assert f"{f.name}: {words(meaning(f))}." in shown
    assert f.metadata["help"].partition(" (default")[0] in explained_arguments(thing)[f.name]


@pytest.mark.parametrize("name", CALLABLE)
def test_every_argument_of_a_public_name_is_explained(name):
    thing = getattr(pv, name)
    parameters = inspect.signature(thing).parameters
    if name != "measure":  # which takes the arguments of a function of yours
        assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    assert set(parameters) == set(explained_arguments(thing))


@pytest.mark.parametrize("name", CALLABLE)
def test_defaults_of_public_names_are_readable(name):
    signature = str(inspect.signature(getattr(pv, name)))
    assert " object at 0x" not in signature and "<function" not in signature


@pytest.mark.parametrize("name", ["fit", "fit_many"])
def test_arguments_that_a_signature_shows_are_taken(name):
    """Each is passed with its default, so that none is a name that the function refuses."""
    x = pv.load_dataset("digits").train.images[:8]
    vae = pv.VAE((1, 8, 8), latent_dim=1, hidden=(2,), levels=17)
    function, given = getattr(pv, name), vae if name == "fit" else [vae]
    parameters = inspect.signature(function).parameters.values()
    shown = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    (outcome,) = function(given, x, **shown | {"epochs": 1})
    record = outcome if name == "fit" else outcome[0]
    assert record.epoch == 1


# --- the decorators -------------------------------------------------------------------------------


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


def bake(cake, *, cover: bool = False, **settings):
    """Bake.

    Args:
        cake, tin: what goes in,
            together.
        cover: whether it is covered.
        {settings}

    Returns:
        heat: no argument.
    """
    return cake, cover, settings


def test_settings_stand_in_the_place_of_the_last_parameter():
    before = bake.__doc__
    try:
        assert takes_settings(Oven)(bake) is bake
        names = ["cake", "cover", "heat", "rack", "mode", "minutes", "name"]
        assert list(inspect.signature(bake).parameters) == names
        explained = explained_arguments(bake)
        assert list(explained) == ["cake", "tin", *names[1:]]
        assert explained["cake"] == explained["tin"] == "what goes in, together."
        assert explained["rack"] == "where the cake stands; from 1 to 4 (default: 2)."
        assert "\n        heat: degrees inside" in bake.__doc__
        assert bake("a", heat=1.0) == ("a", False, {"heat": 1.0})
    finally:
        bake.__doc__ = before
        del bake.__signature__


def test_arguments_that_are_passed_on_are_those_of_the_other_function():
    @takes_arguments_of(pv.train, leave_out=("ranks",))
    def both(config, *, resume=True, **options):
        """Do.

        Args:
            config: settings.
            resume: its own.
            {settings}
        """

    assert list(inspect.signature(both).parameters) == ["config", "resume", "overwrite", "observer"]
    explained, of_train = explained_arguments(both), explained_arguments(pv.train)
    assert explained["overwrite"] == of_train["overwrite"]
    assert explained["resume"] == "its own."


def test_a_docstring_without_a_place_for_settings_is_refused():
    def silent(**settings):
        """Do."""

    with pytest.raises(ValueError, match=r"^docstring: .*silent has no line \{settings\}$"):
        explains_settings(Oven)(silent)


def test_without_docstrings_nothing_is_filled():
    """As under `python -OO`."""

    def bare(**settings): ...

    assert takes_settings(Oven)(bare).__doc__ is None
    assert "heat" in inspect.signature(bare).parameters
