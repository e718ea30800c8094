"""Measures of a run that a user defines, kept in the run's folder beside what they depend on."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.files import read_file, replace_file
from pyro_vae.notices import notice
from pyro_vae.runs.lock import FolderLock
from pyro_vae.runs.run import Run

Value = float | str | Estimate | np.ndarray
Measure = Callable[..., Mapping[str, Value | Tensor]]

FOLDER = "measured"
ERROR = ".standard_error"  # ends the name of the column with an estimate's standard error
KEY = "measured at"  # the array that says what was measured; no figure has this name
LARGEST = 2**30  # bytes


def kept_figures(
    run: Run, measure: Measure, load: Callable[[], Dataset], settings: Mapping[str, object]
) -> dict[str, Value]:
    """Return the figures of a run, from its folder or newly measured.

    They are kept in `measured/` in the run's folder, in a file for each measure and its settings.
    They are measured again where the run's weights have changed since, and where the file cannot be
    read, of which a notice says so. A change of the measure's own code is not seen: give the
    function another name.

    Args:
        measure: called with the run, its data set and the settings; it returns figures by name.
            They are numbers, words, estimates, or arrays, such as values (N,) of N images.
        load: a function that returns the run's data set; it is called only to measure.
        settings: values that JSON can write.

    Returns:
        The figures by name. An estimate fills two columns, NAME and NAME.standard_error.

    Raises:
        ValueError: settings that JSON cannot write, or figures of another kind.
        FolderInUse: another process writes to the run's folder.
        OSError: the file cannot be written.
    """
    path = _path(run, measure, settings)
    key = json.dumps([run.fingerprint, _text(settings)])
    figures = _load(path, key)
    if figures is None:
        figures = _columns(measure, measure(run, load(), **settings))
        _save(path, key, figures)
    return figures


def _path(run: Run, measure: Measure, settings: Mapping[str, object]) -> Path:
    """Return the file of a measure with these settings."""
    mark = zlib.crc32(_text(settings).encode())
    return run.folder / FOLDER / f"{measure.__name__}-{mark:08x}.npz"


def _text(settings: Mapping[str, object]) -> str:
    try:
        return json.dumps(dict(settings), sort_keys=True)
    except TypeError as error:
        raise ValueError(f"settings: expected values that JSON can write: {error}") from None


def _columns(measure: Measure, figures: Mapping[str, Value | Tensor]) -> dict[str, Value]:
    """Return figures as they are kept: numbers, words, and arrays of a number for each image."""
    columns: dict[str, Value] = {}
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
                f"{measure.__name__}: expected numbers, words, estimates or arrays, got"
                f" {type(value).__name__} as {name}"
            )
    return {name: _plain(np.asarray(value)) for name, value in columns.items()}


def _plain(array: np.ndarray) -> Value:
    """Return a single number or word as Python's own."""
    return array if array.ndim else array.item()


def _save(path: Path, key: str, figures: dict[str, Value]) -> None:
    content = io.BytesIO()
    np.savez(content, **{KEY: np.array(key)}, **figures)
    lock = FolderLock(path.parent.parent).acquire()
    try:
        path.parent.mkdir(exist_ok=True)
        replace_file(path, content.getvalue())
    finally:
        lock.release()


def _load(path: Path, key: str) -> dict[str, Value] | None:
    """Return the figures in a file; None where there is none, or one of other weights."""
    try:
        with np.load(io.BytesIO(read_file(path, LARGEST)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        kept = arrays.pop(KEY).item()
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, EOFError, KeyError, zipfile.BadZipFile):
        notice(f"measured: {path} cannot be read; the run is measured again")
        return None
    return {name: _plain(array) for name, array in arrays.items()} if kept == key else None
