"""The files of results in a run folder, checked when they are read: people edit them, and disks fail.

They are `summary.json`, `evaluation.json`, and `per_image.npz` for paired comparisons.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pyro_vae.files import read_file, replace_file
from pyro_vae.kept import load_arrays, mark_of, save_arrays
from pyro_vae.measures import PARTS
from pyro_vae.pages.wording import SUMMARY, Row, lookup

LARGEST = 2**26  # bytes
MARK = "mark"  # no column of measures of images has this name
NUMBER = (int, float, type(None))
BASELINE_FIGURES = {"bits_per_dim", "gain_nats", "gain_error"}
SUMMARY_TYPES = {  # of what must be a number, a name or a table where it is there at all
    **{row.key: NUMBER for row in SUMMARY if row.kind == "figure"},
    "test": dict,
    "train": (dict, type(None)),
    "train.standard_error_nats": NUMBER,
    "validation": (dict, type(None)),
    "parameters": dict,
    "parameters.encoder": int,
    "parameters.decoder": int,
    "parameters.likelihood": int,
    "test.rate_per_component_nats": (list, type(None)),
    "test.mean_variance_per_component": (list, type(None)),
    "linear_optimum": (dict, type(None)),
    "baselines": (dict, type(None)),
    "generalisation": dict,
    "generalisation.gap_error": NUMBER,
    "generalisation.gap_bits_per_dim": NUMBER,
    **{f"generalisation.drawn_gap_{unit}": NUMBER for unit in ("nats", "error", "bits_per_dim")},
    "cautions": list,
    "convergence": (dict, type(None)),
    "convergence.word": str,
    "convergence.reason": str,
    **{f"baselines.{name}": dict for name in ("independent_pixels", "one_gaussian", "ppca")},
    **{
        f"baselines.{name}.{key}": NUMBER if key == "gain_error" else (int, float)
        for name in ("independent_pixels", "one_gaussian", "ppca")
        for key in ("bits_per_dim", "gain_nats", "gain_error", "gain_bits_per_dim")
    },
    "dataset": str,
    "latent_dim": int,
    "epochs": int,
    "asked_epochs": int,
    "seconds": (int, float),
    "device": str,
    "engine": str,
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
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_summary(path: Path, latent_dim: int | None = None) -> dict | None:
    """Return the content of a `summary.json`; None where there is no file yet.

    Args:
        latent_dim: the length of its lists (default: any).

    Raises:
        ValueError: the file is no summary of a run.
    """
    summary = load_table(path, "no summary of a run")
    if summary is None:
        return None
    for key in ("test", "parameters"):
        if key not in summary:
            raise ValueError(f"summary: {path} is no summary of a run: it has no {key}")
    for key, types in SUMMARY_TYPES.items():
        value = _lookup_present(summary, key)
        if value is not _ABSENT and (not isinstance(value, types) or isinstance(value, bool)):
            raise ValueError(f"summary: {path} is no summary of a run: {key} is of another type")
    for name in ("rate_per_component_nats", "mean_variance_per_component"):
        values = summary["test"].get(name)
        if values is None:
            continue
        numbers = [value for value in values if isinstance(value, (int, float))]
        if len(numbers) != len(values) or len(values) != (latent_dim or len(values)):
            raise ValueError(
                f"summary: {path} is no summary of a run: {name} has other numbers than one for"
                " each component"
            )
    for name, figures in (summary.get("baselines") or {}).items():
        if not isinstance(figures, dict) or not figures.keys() >= BASELINE_FIGURES:
            raise ValueError(f"summary: {path} is no summary of a run: {name} lacks figures")
    if not all(isinstance(caution, str) for caution in summary.get("cautions", [])):
        raise ValueError(f"summary: {path} is no summary of a run: a caution is no text")
    return summary


_ABSENT = object()


def _lookup_present(content: dict, key: str) -> Any:
    value: Any = content
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {text[:9]}")
    return value


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


NUMBERS: dict[str, Any] = {  # JSON has finite ones only; Python reads others too
    "parse_constant": _finite,
    "parse_float": _finite,
    "parse_int": _whole,
}


def load_table(path: Path, otherwise: str) -> dict | None:
    """Return the table that a JSON file holds; None where there is no file yet.

    Args:
        otherwise: what the file is if it holds something else, for the message.

    Raises:
        ValueError: the file holds something else, or is no regular file.
    """
    try:
        content = json.loads(read_file(path, LARGEST), **NUMBERS)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.stem}: {path} is not JSON, or {otherwise}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.stem}: {path} is {otherwise}: it holds no table")
    return content


def load_evaluation(path: Path) -> dict:
    """Return the content of an `evaluation.json`; an empty dict where there is no file yet.

    Raises:
        ValueError: the file is no evaluation of a run.
    """
    evaluation = load_table(path, "no evaluation of a run") or {}
    for name, part in PARTS.items():
        figures = evaluation.get(name)
        if figures is not None and not isinstance(figures, dict):
            raise ValueError(f"evaluation: {path} is no evaluation of a run: {name} is no table")
        about = [figures[key] for key in ("images", "quick") if key in (figures or {})]
        if not all(isinstance(value, (*NUMBER, str)) for value in about):
            raise ValueError(
                f"evaluation: {path} is no evaluation of a run: how {name} was measured"
            )
        for row in part.rows:
            if not _fits(row, lookup(figures or {}, row.key)):
                raise ValueError(
                    f"evaluation: {path} is no evaluation of a run: {name}.{row.key} is of another"
                    " type"
                )
    return evaluation


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
        arrays[f"{split}.{MARK}"] = np.array(mark_of(images), dtype=np.int64)
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
