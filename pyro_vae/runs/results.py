"""The files of results in a run folder, checked when they are read: people edit them, and disks fail.

They are `summary.json`, `evaluation.json`, and `per_image.npz` for paired comparisons.
"""

import json
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyro_vae.devices import in_pieces
from pyro_vae.files import read_file, replace_file
from pyro_vae.kept import load_arrays, save_arrays
from pyro_vae.measures import PARTS
from pyro_vae.pages.wording import SUMMARY, Row, lookup

LARGEST = 2**26  # bytes
MARK = "mark"  # no column of measures of images has this name
NUMBER = int | float | None
BASELINE = ("bits_per_dim", "gain_nats", "gain_error")
SUMMARY_TYPES = {  # of what must be a table, a number or a text where it is there at all
    dict: ("test", "parameters", "generalisation"),
    dict | None: ("train", "validation", "linear_optimum", "baselines", "convergence"),
    list | None: ("test.rate_per_component_nats", "test.mean_variance_per_component"),
    list: ("cautions",),
    str: ("convergence.word", "convergence.reason", "dataset", "device", "engine"),
    int: (
        *("parameters.encoder", "parameters.decoder", "parameters.likelihood"),
        *("latent_dim", "epochs", "asked_epochs"),
    ),
    int | float: ("seconds",),
    NUMBER: (
        *(row.key for row in SUMMARY if row.kind == "figure"),
        *("train.standard_error_nats", "generalisation.gap_error"),
        *("generalisation.gap_bits_per_dim", "generalisation.drawn_gap_nats"),
        *("generalisation.drawn_gap_error", "generalisation.drawn_gap_bits_per_dim"),
    ),
}
BASELINE_TYPES = {
    int | float: ("bits_per_dim", "gain_nats", "gain_bits_per_dim"),
    NUMBER: ("gain_error",),
}


def save_json(path: Path, content: dict) -> None:
    """Write a table as JSON; numbers that JSON does not have become null."""
    replace_file(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Return the same content with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    large = isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max  # or NaN
    return None if large else value


def load_summary(path: Path, latent_dim: int | None = None) -> dict | None:
    """Return the content of a `summary.json`; None where there is no file yet.

    Args:
        latent_dim: the length of its lists (default: any).

    Raises:
        ValueError: the file is no summary of a run.
    """
    check = partial(_check_summary, latent_dim=latent_dim)
    return _load_table(path, "no summary of a run", check)


def _check_summary(summary: dict, latent_dim: int | None) -> None:
    for key in ("test", "parameters"):
        if key not in summary:
            raise ValueError(f"it has no {key}")
    _check_types(summary, SUMMARY_TYPES)
    for name in ("rate_per_component_nats", "mean_variance_per_component"):
        values = summary["test"].get(name)
        if values is None:
            continue
        numbers = [value for value in values if isinstance(value, (int, float))]
        if len(numbers) != len(values) or len(values) != (latent_dim or len(values)):
            raise ValueError(f"{name} has other numbers than one for each component")
    for name, figures in (summary.get("baselines") or {}).items():
        if not isinstance(figures, dict) or not figures.keys() >= set(BASELINE):
            raise ValueError(f"{name} lacks figures")
        _check_types(figures, BASELINE_TYPES)
    if not all(isinstance(caution, str) for caution in summary.get("cautions", [])):
        raise ValueError("a caution is no text")


def _check_types(table: dict, types: Mapping[Any, tuple[str, ...]]) -> None:
    """Check the types of the figures that a table has, by their dotted keys."""
    for expected, keys in types.items():
        for key in keys:
            value: Any = table
            for name in key.split("."):
                value = value.get(name, _ABSENT) if isinstance(value, dict) else _ABSENT
            known = isinstance(value, expected) and not isinstance(value, bool)
            if not known and value is not _ABSENT:
                raise ValueError(f"{key} is of another type")


_ABSENT = object()


def _load_table(path: Path, otherwise: str, check: Callable[[dict], None]) -> dict | None:
    """Return the table that a JSON file holds; None where there is no file yet.

    Args:
        otherwise: what the file is if it holds something else, for the message.
        check: raises a ValueError, with the reason, for a table of something else.

    Raises:
        ValueError: the file holds something else, or is no regular file.
    """
    try:
        content = json.loads(read_file(path, LARGEST))
        if finite(content) != content:  # Python reads numbers that JSON does not have
            raise ValueError("expected finite numbers")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.stem}: {path} is not JSON, or {otherwise}") from error
    try:
        if not isinstance(content, dict):
            raise ValueError("it holds no table")
        check(content)
    except ValueError as error:
        raise ValueError(f"{path.stem}: {path} is {otherwise}: {error}") from error
    return content


def load_evaluation(path: Path) -> dict:
    """Return the content of an `evaluation.json`; an empty dict where there is no file yet.

    Raises:
        ValueError: the file is no evaluation of a run.
    """
    return _load_table(path, "no evaluation of a run", _check_evaluation) or {}


def _check_evaluation(evaluation: dict) -> None:
    for name, part in PARTS.items():
        figures = {} if evaluation.get(name) is None else evaluation[name]
        if not isinstance(figures, dict):
            raise ValueError(f"{name} is no table")
        about = [figures[key] for key in ("images", "quick") if key in figures]
        if not all(isinstance(value, NUMBER | str) for value in about):
            raise ValueError(f"how {name} was measured")
        for row in part.rows:
            if not _fits(row, lookup(figures, row.key)):
                raise ValueError(f"{name}.{row.key} is of another type")


def _fits(row: Row, value: Any) -> bool:
    """Return whether a figure is of the kind that its row declares."""
    if value is None:
        return True
    if row.kind == "words":
        return isinstance(value, str)
    if isinstance(value, dict):
        return all(isinstance(value.get(k), NUMBER) for k in ("mean", "standard_error"))
    return isinstance(value, (int, float))


@dataclass(frozen=True)
class PerImage:
    """The measures of each image of one split, in nats, and the mark of these images.

    The columns (N,) are those of `pyro_vae.evaluation.terms.per_image`. Runs with the same mark
    were measured on the same images in the same order.
    """

    mark: int
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def save_per_image(path: Path, splits: Mapping[str, tuple[Tensor, dict[str, Tensor]]]) -> None:
    """Write the measures of each image.

    Args:
        splits: by name, images (N, C, H, W) and columns (N,) of measures.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {}
    for split, (images, columns) in splits.items():
        mark = 0
        for x in in_pieces(images):
            pixels = x.detach().cpu().float().contiguous().numpy()
            mark = zlib.crc32(pixels.data, mark)
        arrays[f"{split}.{MARK}"] = np.array(mark, dtype=np.int64)
        for name, values in columns.items():
            arrays[f"{split}.{name}"] = values.detach().cpu().float().numpy()
    save_arrays(path, arrays)


def load_per_image(path: Path) -> dict[str, PerImage]:
    """Return the measures of each image by split; none where there is no file.

    Raises:
        ValueError: a file that `save_per_image` did not write.
    """
    splits: dict[str, PerImage] = {}
    try:
        arrays = load_arrays(path)
        for whole, values in arrays.items():
            split, _, name = whole.partition(".")
            if split not in splits:
                splits[split] = PerImage(int(arrays[f"{split}.{MARK}"]))
            if name != MARK:
                splits[split].columns[name] = values
        for found in splits.values():
            if len({values.shape for values in found.columns.values()}) > 1 or not all(
                values.ndim == 1 and values.dtype.kind in "fiu" for values in found.columns.values()
            ):
                raise ValueError("expected columns of numbers")
    except FileNotFoundError:
        return {}
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"per_image: {path} holds no measures of images: {error}; delete it and summary.json,"
            " and resume the run, which writes both again"
        ) from error
    return splits
