"""What a command line gets wrong, found before torch is loaded."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from pyro_vae.runs.config import RunConfig, check_run_folder, load_settings
from pyro_vae.settings import COSTS_ONLY, FIRST_RUN
from pyro_vae.sweeps.grid import combinations, read_grid


def settings_of(parsed: Namespace) -> dict:
    """Return the settings that the command line names."""
    names = {f.name for f in fields(RunConfig)}
    return {name: value for name, value in vars(parsed).items() if name in names}


def settings_file(parsed: Namespace) -> str | Path | None:
    """Return the file of settings that `train` reads: the one given, or that of a run to resume."""
    if parsed.config or not (parsed.resume and parsed.out):
        return parsed.config
    own = Path(parsed.out, "config.yaml")
    return own if own.exists() else None


def is_first_run(parsed: Namespace) -> bool:
    """Return whether `train` is asked for no model and no data in particular."""
    return not settings_file(parsed) and settings_of(parsed).keys() <= COSTS_ONLY


def config_of(parsed: Namespace) -> RunConfig:
    """Return the configuration that `train` is asked for.

    Raises:
        ValueError: settings that are wrong.
    """
    flags, file = settings_of(parsed), settings_file(parsed)
    if file:
        return RunConfig.load(file, **flags)
    return RunConfig(**(FIRST_RUN | flags if is_first_run(parsed) else flags))


def sweep_settings(parsed: Namespace) -> dict:
    """Return the settings of a sweep, each with one value or several.

    Raises:
        ValueError: a file that holds no settings.
    """
    return (load_settings(parsed.config) if parsed.config else {}) | settings_of(parsed)


def _check_train(parsed: Namespace) -> None:
    parsed.settings, parsed.first_run = config_of(parsed), is_first_run(parsed)


def _check_sweep(parsed: Namespace) -> None:
    parsed.settings = sweep_settings(parsed)
    combinations(read_grid(parsed.settings))


def _check_run(parsed: Namespace) -> None:
    check_run_folder(Path(parsed.run))


def _check_runs(parsed: Namespace) -> None:
    for run in parsed.runs:
        check_run_folder(Path(run))


CHECKS: dict[str, Callable[[Namespace], None]] = {
    "train": _check_train,
    "sweep": _check_sweep,
    "evaluate": _check_run,
    "explore": _check_runs,
    "sample": _check_run,
    "report": _check_run,
}


def check(parsed: Namespace) -> None:
    """Check what a command is asked for; the settings of `train` and `sweep` become `settings`.

    Raises:
        ValueError: what it is asked for is wrong.
    """
    if parsed.command in CHECKS:
        CHECKS[parsed.command](parsed)
