"""`measure`: figures of many runs by a function of the user's, which are kept in the run folders."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.kept import digest, kept
from pyro_vae.measures.part import VERSION
from pyro_vae.names import shortened
from pyro_vae.randomness import one_at_a_time
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.data import load_data_again, load_local_data
from pyro_vae.runs.evaluate import subject_of
from pyro_vae.runs.lock import FolderLock
from pyro_vae.runs.run import OneRun, Run, runs_of, without_repeats
from pyro_vae.settings import DataSettings, by_name

Measure = Callable[..., Mapping[str, Any]]

ERROR = ".standard_error"  # ends the name of the column with an estimate's standard error


@one_at_a_time()
def measure(runs: OneRun | Sequence[OneRun], function: Measure, **settings: object) -> pd.DataFrame:
    """Return a row of figures for each run, measured by a function of your own.

    The function is called with a subject and the settings. The subject has the run's `model`, and
    its `data` with the images on the model's device; see `pyro_vae.measures.part.Subject`. It
    returns figures by name: numbers, words, estimates, or arrays, such as values (N,) of N images.
    They are kept in the run's folder, in a file for each function and its settings. They are
    measured again only where the settings, the run's weights or the version of the package's own
    measures (`measures.part.VERSION`) have changed. A change of the
    function's own code is not seen: give it another name.

    Args:
        runs: the runs, as `load_runs` returns them, their folders, or one of either. A run
            with the settings and the seed of an earlier one is left out, with a notice that names
            both.
        function: the measure, with a name of its own.
        settings: the function's other arguments, which JSON can write.

    Returns:
        A table whose rows are named by the runs' folders, as those of `Runs.table` are. An estimate
        fills the columns NAME and NAME.standard_error. A cell can hold an array (N,) of images.

    Raises:
        ValueError: settings that JSON cannot write, figures of another kind, or a function without
            a name of its own, such as a lambda.
        FolderInUse: another process writes to a run's folder.
        OSError: a run's folder cannot be locked, or its data can no longer be read.

    Example:
        >>> def brightness(subject, images):
        ...     return {"brightness": subject.model.sample(images).mean().item()}
        >>> measure(load_runs("runs/betas"), brightness, images=100)  # doctest: +SKIP
    """
    if not str(getattr(function, "__name__", "")).isidentifier():  # which names what is kept
        raise ValueError(
            f"function: expected one that 'def' names, got {shortened(function)}; give other"
            " arguments to measure itself, as in measure(runs, function, images=100)"
        )
    runs = without_repeats("measure", runs_of(runs))
    cached = lru_cache(maxsize=1)(load_local_data)  # runs on the same data read it once

    def load(config: RunConfig) -> Dataset:
        return cached(RunConfig(**by_name(config, DataSettings), patience=config.patience))

    rows = [_figures(run, function, settings, load) for run in runs]
    folders = [str(run.folder) for run in runs]
    return pd.DataFrame(rows, index=pd.Index(folders, name="folder"))


def _figures(
    run: Run,
    function: Measure,
    settings: Mapping[str, object],
    load: Callable[[RunConfig], Dataset],
) -> dict[str, Any]:
    """Return the figures of a run, from its folder or newly measured."""
    text, lock = _text(settings), FolderLock(run.folder)

    def compute() -> dict[str, np.ndarray]:
        lock.acquire()
        data = load_data_again(run, load=load)
        subject = subject_of(run, data, run.config, seed=run.config.seed)
        return _columns(function.__name__, function(subject, **settings))

    path = run.measured / f"{function.__name__}-{digest(text)[:8]}.npz"
    try:
        columns = kept(path, json.dumps([run.fingerprint, VERSION, text]), compute)
    finally:
        lock.release()
    return {name: array if array.ndim else array.item() for name, array in columns.items()}


def _text(settings: Mapping[str, object]) -> str:
    try:
        return json.dumps(dict(settings), sort_keys=True)
    except TypeError as error:
        raise ValueError(f"settings: expected values that JSON can write: {error}") from None


def _columns(measure: str, figures: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return figures as they are kept: numbers, words, and arrays of a number for each image."""
    columns: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, Estimate):
            columns[name], columns[name + ERROR] = value
        elif isinstance(value, Tensor):
            columns[name] = value.detach().cpu().numpy()
        else:
            columns[name] = value
    for name, value in columns.items():
        if np.asarray(value).dtype == object:
            raise ValueError(
                f"{measure}: expected numbers, words, estimates or arrays, got"
                f" {type(value).__name__} as {name}"
            )
    return {name: np.asarray(value) for name, value in columns.items()}
