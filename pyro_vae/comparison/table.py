"""Finished runs side by side: what varies among them, what was measured, how it goes with a setting."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from pyro_vae.likelihoods.families import LIKELIHOODS, LevelMass
from pyro_vae.pages.wording import MEASURES, SECTIONS, SUMMARY, Row, lookup
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder

Paths = str | Path | Iterable[str | Path]

FAILED = "failed.txt"  # what a sweep leaves in the folder of a run that failed
DATA = ("dataset", "binarize", "levels")  # figures of other data are on another scale
NO_MATTER = ("seed", "data_dir", "device", "engine")  # settings that tell no two points apart
EFFORT = ("images", "quick", "bits_per_dim_samples")  # of a part of an evaluation
SCALES = {  # what ELBO and distortion count; densities under the name of their `score`
    "density": "pixel densities",
    "levels": "level probabilities",
    "none": "no likelihood",
}
ROWS = (  # what columns are called
    {row.key: row for row in SUMMARY}
    | {f"{name}.{row.key}": row for name, s in SECTIONS.items() for row in s.rows}
    | {"parameters": Row("parameters", "parameters")}
)

BEST: dict[str, Callable[[float], float]] = {  # what is smallest where a measure is best
    "highest": lambda value: -value,
    "lowest": lambda value: value,
    "nearest 1": lambda value: abs(value - 1),
}


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, its settings, and its figures by column."""

    folder: RunFolder
    config: RunConfig
    measures: dict[str, Any]

    @property
    def scale(self) -> str:
        """The key of `SCALES` that the run's ELBO and distortion are on."""
        family = LIKELIHOODS[self.config.likelihood]
        if self.config.likelihood == "bernoulli":
            return "none" if self.measures.get("test.bits_per_dim") is None else "levels"
        return "levels" if issubclass(family, LevelMass) else self.config.score


class Comparison(NamedTuple):
    """Runs that are finished, and why the others are not: folder and reason."""

    finished: list[Finished]
    unfinished: dict[str, str]
    failed: dict[str, str]


class Point(NamedTuple):
    """A mean over seeds at one value of a setting, with its standard error (NaN of one seed)."""

    x: float
    mean: float
    standard_error: float
    seeds: int


def compare(runs: Paths) -> list[dict[str, Any]]:
    """A row for each finished run: its folder, the settings that vary, and all that was measured.

    Columns are those of `compare.csv`: `test.elbo_nats` is that figure of `summary.json`,
    `samples.frechet_distance_samples` one of `evaluation.json`, with `.standard_error` after it
    where one is known. A figure that a run has not is None.

    Args:
        runs: run folders, and folders that hold run folders; or one of them.

    Raises:
        ValueError: no such folder, a folder without runs, fewer than two finished runs, a damaged
            file.
    """
    return rows_of_runs(read_runs(runs).finished)


def read_runs(runs: Paths) -> Comparison:
    """The runs in `runs`, arguments and errors as those of `compare`."""
    found = Comparison([], {}, {})
    for folder in find_runs(runs):
        note = folder.path / FAILED
        if note.exists():
            lines = note.read_text(errors="replace").strip().splitlines() or ["no reason given"]
            found.failed[str(folder.path)] = lines[-1]
        elif (summary := folder.load_json(folder.summary)) is not None:
            found.finished.append(_finished(folder, summary))
        else:
            epochs = RunConfig.load(folder.config).epochs
            done = len(folder.columns()["epoch"])
            found.unfinished[str(folder.path)] = f"{done} of {epochs} epochs"
    if len(found.finished) < 2:
        others = "".join(
            f"; {name}: {', '.join(runs)}"
            for name, runs in (("unfinished", found.unfinished), ("failed", found.failed))
            if runs
        )
        raise ValueError(
            f"compare: expected two finished runs or more, got {len(found.finished)}{others}"
        )
    return found


def find_runs(runs: Paths) -> list[RunFolder]:
    """The run folders among `runs` and in them, each once.

    Raises:
        ValueError: no such folder, or one without runs.
    """
    found: dict[Path, RunFolder] = {}
    for path in map(Path, [runs] if isinstance(runs, (str, Path)) else runs):
        if not path.is_dir():
            raise ValueError(f"compare: there is no folder {path}")
        inside = [path] if is_run(path) else [p for p in sorted(path.iterdir()) if is_run(p)]
        if not inside:
            raise ValueError(f"compare: {path} is no run folder, and holds none")
        for folder in inside:
            found.setdefault(folder.resolve(), RunFolder(folder))
    return list(found.values())


def is_run(path: Path) -> bool:
    """Whether a run was begun in the folder."""
    return (path / "config.yaml").exists() or (path / FAILED).exists()


def _finished(folder: RunFolder, summary: Any) -> Finished:
    evaluation = folder.load_json(folder.evaluation)
    return Finished(
        folder, RunConfig.load(folder.config), _measures(folder, summary, evaluation or {})
    )


def _measures(folder: RunFolder, summary: Any, evaluation: Any) -> dict[str, Any]:
    """The figures of both files by column."""
    sizes = summary.get("parameters") if isinstance(summary, dict) else None
    if not isinstance(sizes, dict) or not isinstance(summary.get("test"), dict):
        raise ValueError(f"summary: {folder.summary} is no summary of a run")
    if not isinstance(evaluation, dict):
        raise ValueError(f"evaluation: {folder.evaluation} is no evaluation of a run")
    found = {row.key: lookup(summary, row.key) for row in SUMMARY}
    found["parameters"] = sum(v for v in sizes.values() if isinstance(v, int))
    for name, section in SECTIONS.items():
        part = evaluation.get(name) or {}
        for key in dict.fromkeys([*(row.key for row in section.rows), *EFFORT]):
            value = lookup(part, key)
            if isinstance(value, dict):
                found[f"{name}.{key}"] = value.get("mean")
                found[f"{name}.{key}.standard_error"] = value.get("standard_error")
            else:
                found[f"{name}.{key}"] = value
    for column in MEASURES:
        if not isinstance(found.get(column), (int, float, type(None))):
            file = folder.summary if column.startswith("test.") else folder.evaluation
            raise ValueError(f"{file.stem}: {column} of {file} is no number")
    return found


# --- rows ------------------------------------------------------------------------------------------


def varying(runs: Sequence[Finished]) -> list[str]:
    """The settings that are not the same in all runs."""
    names = [f.name for f in fields(RunConfig)]
    return [n for n in names if len({getattr(run.config, n) for run in runs}) > 1]


def rows_of_runs(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """The rows of `compare`: columns that no run fills are left out."""
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


def groups(runs: Sequence[Finished]) -> list[list[Finished]]:
    """Runs on the same data together, in the order in which they came."""
    found: dict[tuple, list[Finished]] = {}
    for run in runs:
        found.setdefault(tuple(getattr(run.config, n) for n in DATA), []).append(run)
    return list(found.values())


def bits_column(runs: Sequence[Finished]) -> str:
    """Where to read the bits per dimension that rank these runs.

    The evaluation's bound is the tighter one; it ranks where all runs that have bits have it at
    one effort. Else the bound of `summary.json` does, which is at one effort always.
    """
    known = [run.measures for run in runs if run.measures["test.bits_per_dim"] is not None]
    column = "likelihood.bits_per_dim"
    efforts = {tuple(m.get(f"likelihood.{name}") for name in EFFORT) for m in known}
    everywhere = known and all(m.get(column) is not None for m in known)
    return column if everywhere and len(efforts) == 1 else "test.bits_per_dim"


def ranked(runs: Sequence[Finished]) -> list[tuple[int | None, Finished]]:
    """Rank and run, fewest bits per dimension first; those without bits come last, unranked."""
    column = bits_column(runs)
    known = [run for run in runs if run.measures[column] is not None]
    others = [(None, run) for run in runs if run.measures[column] is None]
    return [*enumerate(sorted(known, key=lambda run: run.measures[column]), 1), *others]


def uneven_parts(runs: Sequence[Finished]) -> list[str]:
    """Parts of the evaluation that were not measured at one effort in all runs that have them."""
    found = []
    for name, section in SECTIONS.items():
        columns = [f"{name}.{row.key}" for row in section.rows]
        have = [r.measures for r in runs if any(r.measures.get(c) is not None for c in columns)]
        efforts = {tuple(m.get(f"{name}.{e}") for e in ("images", "quick")) for m in have}
        found += [name] if len(efforts) > 1 else []
    return found


# --- curves ----------------------------------------------------------------------------------------


def line_settings(runs: Sequence[Finished], axis: str) -> list[str]:
    """The settings that tell lines over `axis` apart: they vary, and are neither it nor the seed."""
    return [name for name in varying(runs) if name not in (axis, *NO_MATTER)]


def lines(runs: Sequence[Finished], settings: Sequence[str]) -> dict[str, list[Finished]]:
    """Runs with the same of these settings together, by the name of their line."""
    found: dict[str, list[Finished]] = {}
    for run in sorted(runs, key=lambda run: [_place(getattr(run.config, n)) for n in settings]):
        found.setdefault(label(run, settings), []).append(run)
    return found


def _place(value: Any) -> tuple:
    """Where a setting stands: families in the package's order, other names by name, numbers by size."""
    if isinstance(value, str):
        return (0, list(LIKELIHOODS).index(value) if value in LIKELIHOODS else -1, value)
    return (2, *value) if isinstance(value, tuple) else (1, value or 0)


def label(run: Finished, settings: Sequence[str]) -> str:
    """These settings of a run in words."""
    return ", ".join(
        text if isinstance(value, str) else f"{name.replace('_', ' ')} {text}"
        for name in settings
        for value, text in [(getattr(run.config, name), setting(getattr(run.config, name)))]
    )


def setting(value: Any) -> str:
    """A setting's value as it is written in a flag."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else "unset" if value is None else str(value)


def points(runs: Sequence[Finished], axis: str, column: str) -> list[Point]:
    """Means of a measure over seeds for each value of a setting, with their standard errors."""
    found: dict[float, list[float]] = {}
    for run in runs:
        value = run.measures.get(column)
        if value is not None:
            found.setdefault(getattr(run.config, axis), []).append(value)
    return [
        Point(x, mean(values), _standard_error(values), len(values))
        for x, values in sorted(found.items())
    ]


def _standard_error(values: list[float]) -> float:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def best_point(curve: Sequence[Point], best: str) -> Point | None:
    """The point where the measure is best, by a name of `BEST`; None of measures without a best."""
    if best not in BEST or not curve:
        return None
    return min(curve, key=lambda point: BEST[best](point.mean))
