"""Signatures and docstrings that show settings, made from the declarations of the settings.

A function that passes keyword arguments on has `**settings` in its source. The decorators here give
it the signature that it really has, and put an entry for each argument where its docstring says
`{settings}`. `help`, `inspect.signature` and the API reference then show every argument.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from typing import TypeVar, cast

from pyro_vae.settings import Settings, bounds_text, setting_text

PLACE = "{settings}"  # in a docstring, on a line of its own
WIDTH = 96
ENTRY = re.compile(r"^(\w[\w, ]*): ", re.M)

Explained = TypeVar("Explained", bound=Callable)


def meaning(f: Field) -> str:
    """Return what a setting means, with its choices, its range and its default."""
    text, _, default = f.metadata["help"].partition(" (default: ")
    default = default.removesuffix(")")
    if f.default is not None:
        default = setting_text(f.default)
    if f.metadata["choices"]:
        text += "; one of " + ", ".join(f"`{name}`" for name in f.metadata["choices"])
    elif bounds_text(f):
        text += "; " + bounds_text(f)
    return f"{text} (default: {default})" if default else text


def explains_settings(
    kind: type[Settings] | None = None, leave_out: Collection[str] = ()
) -> Callable[[Explained], Explained]:
    """Return a decorator that puts the settings into a docstring; the signature has them already.

    Args:
        kind: the dataclass that declares the settings (default: what is decorated).
        leave_out: the names of its fields that are no arguments.

    Raises:
        ValueError: a docstring without the line `{settings}`.
    """

    def decorate(decorated: Explained) -> Explained:
        declared = cast(type[Settings], kind or decorated)
        chosen = [f for f in fields(declared) if f.name not in leave_out]
        _fill(decorated, {f.name: meaning(f) for f in chosen})
        return decorated

    return decorate


def takes_settings(kind: type[Settings]) -> Callable[[Explained], Explained]:
    """Return a decorator for a function whose `**settings` are the fields of a dataclass.

    Raises:
        ValueError: a docstring without the line `{settings}`.
    """

    def decorate(function: Explained) -> Explained:
        _extend(function, [_parameter(f) for f in fields(kind)])
        return explains_settings(kind)(function)

    return decorate


def takes_arguments_of(
    other: Callable, leave_out: Collection[str] = ()
) -> Callable[[Explained], Explained]:
    """Return a decorator for a function that passes its other keyword arguments on to `other`.

    Args:
        other: the function that takes them; its docstring explains them.
        leave_out: keyword arguments of `other` that are not passed on.

    Raises:
        ValueError: a docstring without the line `{settings}`.
    """

    def decorate(function: Explained) -> Explained:
        own = inspect.signature(function).parameters
        passed_on = [
            parameter
            for parameter in inspect.signature(other).parameters.values()
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in {*own, *leave_out}
        ]
        _extend(function, passed_on)
        explained = explained_arguments(other)
        _fill(function, {parameter.name: explained[parameter.name] for parameter in passed_on})
        return function

    return decorate


def explained_arguments(thing: object) -> dict[str, str]:
    """Return the entries under `Args:` in a docstring, by the arguments' names.

    An entry for several arguments, as in `betas, seeds: one value each`, is given for each of them.
    """
    section = (inspect.getdoc(thing) or "").partition("Args:\n")[2]
    after = re.search(r"^\S", section, re.M)
    indented = section[: after.start()] if after else section
    names_and_texts = ENTRY.split(textwrap.dedent(indented))[1:]
    found = {}
    for names, text in zip(names_and_texts[::2], names_and_texts[1::2]):
        for name in names.split(", "):
            found[name] = " ".join(text.split())
    return found


def _parameter(f: Field) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(f.name, keyword, default=f.default, annotation=f.type)


def _extend(function: Callable, more: list[inspect.Parameter]) -> None:
    """Put parameters in the place of the last one of a signature, which is `**settings`."""
    signature = inspect.signature(function)
    own = list(signature.parameters.values())[:-1]
    function.__signature__ = signature.replace(parameters=own + more)  # type: ignore[attr-defined]


def _fill(decorated: Callable, explained: Mapping[str, str]) -> None:
    if decorated.__doc__ is None:
        return  # Python runs with -OO
    line = re.search(rf"^( *){re.escape(PLACE)}$", decorated.__doc__, re.M)
    if line is None:
        raise ValueError(f"docstring: {decorated.__qualname__} has no line {PLACE}")
    start, more = line.group(1), line.group(1) + "    "
    wrapper = textwrap.TextWrapper(
        WIDTH, start, more, break_on_hyphens=False, break_long_words=False
    )
    entries = [wrapper.fill(f"{name}: {text.rstrip('.')}.") for name, text in explained.items()]
    decorated.__doc__ = decorated.__doc__.replace(line.group(), "\n".join(entries))
