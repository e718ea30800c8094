"""Finished runs side by side: the settings that vary, the figures, and their means over seeds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd

from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.pages.wording import PARAMETERS, SUMMARY, Row, lookup
from pyro_vae.runs.baselines import not_beaten
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.parts import PARTS
from pyro_vae.runs.run import Run
from pyro_vae.settings import setting_text

Paths = str | Path | Iterable[str | Path]

DATA = ("dataset", "binarize", "levels")  # figures of other data are on another scale
PLACE = ("data_dir", "data_limit", "device", "engine")  # settings that change no result
NO_MATTER = ("seed", *PLACE)  # settings that do not distinguish points
EFFORT = ("images", "quick", "bits_per_dim_samples")  # keys that state a part's effort
SCALES = {  # the terms of ELBO and distortion; a continuous family has its `score` as its key
    "density": "pixel densities",
    "levels": "level probabilities",
    "none": "no likelihood",
}
ROWS: dict[str, Row] = (  # by column
    {row.key: row for row in (*SUMMARY, PARAMETERS)}
    | {
        f"{name}.{row.key}": row
        for name, part in PARTS.items()
        for row in part.rows
        if row.kind != "data"
    }
)
COMPARED = {column: row.compared for column, row in ROWS.items() if row.compared}

BEST: dict[str, Callable[[float], float]] = {  # a number that is smallest where a measure is best
    "highest": lambda value: -value,
    "lowest": lambda value: value,
    "nearest 1": lambda value: abs(value - 1),
}


class Configured(Protocol):
    """What has the settings of a run."""

    @property
    def config(self) -> RunConfig:
        """Return the settings."""


@dataclass(frozen=True)
class Finished:
    """A finished run, with its folder, its settings, and its figures by column."""

    folder: RunFolder
    config: RunConfig
    measures: dict[str, Any]
    beaten: bool = False  # whether a trivial model of the training images is as likely

    @property
    def scale(self) -> str:
        """Return the scale of the run's ELBO and distortion, a key of `SCALES`."""
        family = LIKELIHOODS[self.config.likelihood]
        if family.binary_only:
            return "none" if self.measures.get("test.bits_per_dim") is None else "levels"
        return "levels" if family.always_mass else self.config.score


class Comparison(NamedTuple):
    """The runs that are compared, and for each of the others its folder and the reason."""

    finished: list[Finished]
    unfinished: dict[str, str]
    failed: dict[str, str]
    repeated: dict[str, str]  # the same settings and seed as another, and no second seed


class Point(NamedTuple):
    """A mean over seeds at one value of a setting, with its standard error (NaN for one seed)."""

    x: float
    mean: float
    standard_error: float
    seeds: int


def compare(runs: Paths) -> list[dict[str, Any]]:
    """Return a row for each finished run: its folder, the settings that vary, and its figures.

    The columns are those of `compare.csv`. For example, `test.elbo_nats` is this figure in
    `summary.json`, and `samples.frechet_distance_samples` is one in `evaluation.json`. Where a
    standard error is known, its column ends in `.standard_error`. A figure that a run does not
    have is None.

    Args:
        runs: run folders and folders that hold run folders, or one of them.

    Raises:
        ValueError: a folder that does not exist or has no runs; fewer than two finished runs; a
            damaged file.

    Example:
        >>> [row["test.elbo_nats"] for row in compare("runs")]  # doctest: +SKIP
    """
    return rows_of_runs(read_runs(runs).finished)


def read_runs(runs: Paths) -> Comparison:
    """Return the comparison of `runs`; arguments and errors are those of `compare`."""
    comparison = Comparison([], {}, {}, {})
    first: dict[tuple, Path] = {}
    for folder in find_runs(runs):
        if folder.failure.exists():
            lines = folder.failure.read_text(errors="replace").strip().splitlines()
            comparison.failed[str(folder.path)] = lines[-1] if lines else "no reason given"
        elif (summary := _current_summary(folder)) is not None:
            run = _finished(folder, summary)
            earlier = first.setdefault(_identity(run.config), folder.path)
            if earlier is folder.path:
                comparison.finished.append(run)
            else:
                comparison.repeated[str(folder.path)] = f"settings and seed are those of {earlier}"
        else:
            epochs = RunConfig.load(folder.config).epochs
            done = len(Run(folder.path).metrics["epoch"])
            comparison.unfinished[str(folder.path)] = f"{done} of {epochs} epochs"
    if len(comparison.finished) < 2:
        raise ValueError(_too_few(comparison))
    return comparison


def _identity(config: RunConfig) -> tuple:
    """Return what a run's results depend on."""
    return tuple(getattr(config, f.name) for f in fields(RunConfig) if f.name not in PLACE)


def _too_few(comparison: Comparison) -> str:
    others = {"unfinished": comparison.unfinished, "failed": comparison.failed}
    others |= {"repeated": comparison.repeated}
    listed = "".join(f"; {name}: {', '.join(runs)}" for name, runs in others.items() if runs)
    count = len(comparison.finished)
    return f"compare: expected two finished runs or more, got {count}{listed}"


def find_runs(runs: Paths) -> list[RunFolder]:
    """Return the run folders among `runs` and inside them, each once.

    Raises:
        ValueError: a folder that does not exist or has no runs.
    """
    folders: dict[Path, RunFolder] = {}
    for path in map(Path, [runs] if isinstance(runs, (str, Path)) else runs):
        if not path.is_dir():
            raise ValueError(f"compare: there is no folder {path}")
        inside = [path] if is_run(path) else [p for p in sorted(path.iterdir()) if is_run(p)]
        if not inside:
            raise ValueError(f"compare: {path} is no run folder, and holds none")
        for folder in inside:
            folders.setdefault(folder.resolve(), RunFolder(folder))
    return list(folders.values())


def is_run(path: Path) -> bool:
    """Return whether a run was begun in the folder."""
    folder = RunFolder(path)
    return folder.config.exists() or folder.failure.exists()


def _current_summary(folder: RunFolder) -> dict | None:
    return Run(folder.path).summary


def _finished(folder: RunFolder, summary: Any) -> Finished:
    config = RunConfig.load(folder.config)
    measures = figures_by_column(summary, Run(folder.path, config).current_parts)
    return Finished(folder, config, measures, bool(not_beaten(summary.get("baselines") or {})))


def figures_by_column(summary: dict, evaluation: dict) -> dict[str, Any]:
    """Return the figures of both files by column."""
    measures = {row.key: lookup(summary, row.key) for row in SUMMARY}
    measures["parameters"] = sum(v for v in summary["parameters"].values() if isinstance(v, int))
    for name in PARTS:
        measures |= _part_measures(name, evaluation.get(name) or {})
    return measures


def _part_measures(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    shown = [row.key for row in PARTS[name].rows if row.kind != "data"]
    measures = {}
    for key in dict.fromkeys([*shown, *EFFORT]):
        value = lookup(figures, key)
        if isinstance(value, dict):
            measures[f"{name}.{key}"] = value.get("mean")
            measures[f"{name}.{key}.standard_error"] = value.get("standard_error")
        else:
            measures[f"{name}.{key}"] = value
    return measures


# --- rows ------------------------------------------------------------------------------------------


def varying(runs: Sequence[Configured]) -> list[str]:
    """Return the settings that are not the same in all runs."""
    names = [f.name for f in fields(RunConfig)]
    return [n for n in names if len({getattr(run.config, n) for run in runs}) > 1]


def rows_of_runs(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """Return the rows of `compare`; columns that no run fills are left out."""
    settings = varying(runs)
    columns = [
        column
        for column in dict.fromkeys(c for run in runs for c in run.measures)
        if any(run.measures.get(column) is not None for run in runs)
    ]
    return [
        {"folder": str(run.folder.path)}
        | {name: getattr(run.config, name) for name in settings}
        | {column: run.measures.get(column) for column in columns}
        for run in runs
    ]


def csv_of_runs(runs: Sequence[Finished]) -> str:
    """Return the rows of `compare` as CSV."""
    table = pd.DataFrame(rows_of_runs(runs), dtype=object)  # integers stay integers beside blanks
    tuples = table.map(lambda value: isinstance(value, tuple))
    return table.mask(tuples, table.map(setting_text)).to_csv(index=False)


def groups(runs: Sequence[Finished]) -> list[list[Finished]]:
    """Return the runs in groups on the same data, in the order in which they were given."""
    together: dict[tuple, list[Finished]] = {}
    for run in runs:
        together.setdefault(tuple(getattr(run.config, n) for n in DATA), []).append(run)
    return list(together.values())


def bits_column(runs: Sequence[Finished]) -> str:
    """Return the column of the bits per dimension that rank these runs.

    Those of validation images rank runs that all hold some out, since the test images are not to
    choose by. Otherwise the evaluation's bound does, which is tighter, if all that have bits have it
    at the same effort; and else the bound of `summary.json`, whose effort never differs.
    """
    known = [run.measures for run in runs if run.measures["test.bits_per_dim"] is not None]
    column = "likelihood.bits_per_dim"
    efforts = {tuple(m.get(f"likelihood.{name}") for name in EFFORT) for m in known}
    if known and all(m.get("validation.bits_per_dim") is not None for m in known):
        return "validation.bits_per_dim"
    everywhere = known and all(m.get(column) is not None for m in known)
    return column if everywhere and len(efforts) == 1 else "test.bits_per_dim"


def rank_by_bits(runs: Sequence[Finished]) -> list[tuple[int | None, Finished]]:
    """Return rank and run, fewest bits per dimension first; runs without bits are last, unranked."""
    column = bits_column(runs)
    known = [run for run in runs if run.measures[column] is not None]
    others = [(None, run) for run in runs if run.measures[column] is None]
    return [*enumerate(sorted(known, key=lambda run: run.measures[column]), 1), *others]


def uneven_parts(runs: Sequence[Finished]) -> list[str]:
    """Return the parts of the evaluation that were not measured at the same effort in all runs."""
    uneven = []
    for name in PARTS:
        columns = [column for column in ROWS if column.startswith(f"{name}.")]
        have = [r.measures for r in runs if any(r.measures.get(c) is not None for c in columns)]
        efforts = {tuple(m.get(f"{name}.{e}") for e in ("images", "quick")) for m in have}
        uneven += [name] if len(efforts) > 1 else []
    return uneven


# --- curves ----------------------------------------------------------------------------------------


def line_settings(runs: Sequence[Finished], axis: str) -> list[str]:
    """Return the settings that distinguish lines over `axis`.

    They are those that vary, except `axis` itself and settings like the seed (`NO_MATTER`).
    """
    return [name for name in varying(runs) if name not in (axis, *NO_MATTER)]


def lines(runs: Sequence[Finished], settings: Sequence[str]) -> dict[str, list[Finished]]:
    """Return the runs that agree in these settings, by the name of their line."""
    together: dict[str, list[Finished]] = {}
    for run in sorted(runs, key=lambda run: [_place(getattr(run.config, n)) for n in settings]):
        together.setdefault(label(run, settings), []).append(run)
    return together


def _place(value: Any) -> tuple:
    """Return the sort key of a setting.

    Families come in the package's order, other names by name, and numbers by size.
    """
    if isinstance(value, str):
        return (0, list(LIKELIHOODS).index(value) if value in LIKELIHOODS else -1, value)
    return (2, *value) if isinstance(value, tuple) else (1, value or 0)


def label(run: Configured, settings: Sequence[str]) -> str:
    """Return these settings of a run in words."""
    words = []
    for name in settings:
        value = getattr(run.config, name)
        text = setting_text(value)
        words.append(text if isinstance(value, str) else f"{name.replace('_', ' ')} {text}")
    return ", ".join(words)


def points(
    runs: Sequence[Finished], axis: str, measure: str | Callable[[Finished], float | None]
) -> list[Point]:
    """Return means of a measure over seeds for each value of a setting, with standard errors.

    Args:
        axis: the name of the setting.
        measure: a column of the table of runs, or a function that measures a run; runs where it is
            None are left out.
    """
    read = (lambda run: run.measures.get(measure)) if isinstance(measure, str) else measure
    known = [(getattr(run.config, axis), value) for run in runs if (value := read(run)) is not None]
    values = [value for value, _ in known]
    by_value = pd.Series([measured for _, measured in known], dtype=float).groupby(values)
    table = by_value.agg(["mean", "sem", "count"])
    return [Point(row.Index, row.mean, row.sem, row.count) for row in table.itertuples()]


def best_point(curve: Sequence[Point], best: str) -> Point | None:
    """Return the point where the measure is best, by a key of `BEST`, or None where none is best."""
    if best not in BEST or not curve:
        return None
    return min(curve, key=lambda point: BEST[best](point.mean))
