"""Runs in folders: which are finished, their table, and a sequence from which settings choose."""

from collections import UserList
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pyro_vae.comparison.table import SETTINGS, differing, named, table_of
from pyro_vae.names import check_name, is_path
from pyro_vae.notices import notice
from pyro_vae.runs.run import Run, distinct, without_repeats

Paths = str | Path | Iterable[str | Path]


class Runs(UserList[Run]):
    """A list of finished runs, in the order given, each once.

    Args:
        runs: the runs. One with the settings and the seed of an earlier one is left out, with a
            notice that names both.
    """

    def __init__(self, runs: Iterable[Run] = ()):
        super().__init__(without_repeats("runs", runs))

    def __repr__(self) -> str:
        return f"Runs({[str(run.folder) for run in self]})"

    def where(self, **settings: object) -> "Runs":
        """Return the runs that have these settings; a list stands for any of its values.

        Raises:
            ValueError: a name that is no setting.
        """
        for name in settings:
            check_name("where: setting", name, SETTINGS)
        wanted = {n: v if isinstance(v, list) else [v] for n, v in settings.items()}
        return Runs(run for run in self if all(getattr(run.config, n) in wanted[n] for n in wanted))

    def one(self, **settings: object) -> Run:
        """Return the only run that has these settings.

        Raises:
            ValueError: a name that is no setting; no such run, or several.
        """
        found = self.where(**settings)
        if len(found) != 1:
            raise ValueError(f"one: expected one run with {settings}, got {len(found)}")
        return found[0]

    def table(self) -> pd.DataFrame:
        """Return a row for each run: all its settings, and the figures in its folder by now.

        The rows are named by the runs' folders. The figures have the columns of `compare`, such as
        `test.elbo_nats` of `summary.json` and `samples.frechet_distance_samples` of
        `evaluation.json`. Where a standard error is known, its column ends in `.standard_error`.
        """
        table = named(table_of(run.reread() for run in self))
        return table.infer_objects().copy()  # in one piece, to which columns can be added


class FoundRuns(NamedTuple):
    """The finished runs in folders, and the reason why each other one is not compared.

    The `others` are, by folder, those that are `not finished`, those that `failed`, and those that
    are `left out`, since they repeat another run or had other images in their data set.
    """

    finished: Runs
    others: dict[str, dict[str, str]]


def find_runs(folders: Paths) -> FoundRuns:
    """Return the runs in folders, each once; of those that repeat another, the first is taken.

    Args:
        folders: run folders and folders that hold run folders, or one of them.

    Raises:
        ValueError: a folder that does not exist or has no runs; a damaged file.
    """
    finished: list[Run] = []
    unfinished, failed = {}, {}
    for run in map(Run, _run_folders(folders)):
        if run.failed is not None:
            failed[str(run.folder)] = run.failed.splitlines()[-1]
        elif run.summary is None:
            done = len(run.metrics["epoch"])
            unfinished[str(run.folder)] = f"{done} of {run.config.epochs} epochs"
        else:
            finished.append(run)
    alike, of_others = _of_the_same_images(finished)
    kept, repeated = distinct(alike)
    left_out = repeated | of_others
    others = {"not finished": unfinished, "failed": failed, "left out": left_out}
    return FoundRuns(Runs(kept), others)


def _of_the_same_images(runs: list[Run]) -> tuple[list[Run], dict[str, str]]:
    """Return the runs without those whose data set held other images than an earlier run's did.

    Images that have moved have the path of the first run.
    """
    paths: dict[str, str] = {}
    first: dict[tuple, Run] = {}
    alike, others = [], {}
    for run in runs:
        images, path = run.image_fingerprint, run.config.dataset
        path = paths.setdefault(images, path) if images else path
        if path != run.config.dataset and is_path(path) and is_path(run.config.dataset):
            run = Run(run.folder, run.config.at(dataset=path))
        same = first.setdefault((path, run.config.levels), run) if images else run
        if images == same.image_fingerprint:
            alike.append(run)
        else:
            others[str(run.folder)] = f"its data set held other images than that of {same.folder}"
    return alike, others


def _run_folders(folders: Paths) -> list[Path]:
    """Return the run folders among `folders` and inside them, each once."""
    found: dict[Path, Path] = {}
    for path in map(Path, [folders] if isinstance(folders, (str, Path)) else folders):
        if not path.is_dir():
            raise ValueError(f"runs: there is no folder {path}")
        inside = [path] if is_run(path) else [p for p in sorted(path.iterdir()) if is_run(p)]
        if not inside:
            raise ValueError(f"runs: {path} is no run folder, and holds none")
        for folder in inside:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def is_run(path: Path) -> bool:
    """Return whether a run was begun in the folder."""
    run = Run(path)
    return run.config_file.exists() or run.failure_file.exists()


def load_runs(folders: Paths) -> Runs:
    """Return the finished runs in folders, with their models on the CPU in `eval` mode.

    Models and metrics are read when they are first asked for. Runs that are not finished and runs
    that failed are left out, and a notice counts them. A run with the settings and the seed of
    another one is left out too, with a notice that names both.

    Args:
        folders: run folders and folders that hold run folders, or one of them.

    Raises:
        ValueError: a folder that does not exist or has no runs; a damaged file.

    Example:
        >>> runs = load_runs("runs/betas")  # doctest: +SKIP
        >>> runs.where(likelihood="laplace", beta=[1, 4]).table()  # doctest: +SKIP
    """
    found = find_runs(folders)
    unfinished, failed, left_out = found.others.values()
    if others := len(unfinished) + len(failed):
        count = len(found.finished) + len(left_out) + others
        notice(f"load_runs: {others} of {count} runs are not finished")
    for folder, reason in left_out.items():
        notice(f"load_runs: {folder} is left out: {reason}")
    return found.finished


def compare(runs: Paths) -> list[dict[str, Any]]:
    """Return a row for each finished run: its folder, the settings that vary, and its figures.

    The columns are those of `compare.csv`. For example, `test.elbo_nats` is this figure in
    `summary.json`, and `samples.frechet_distance_samples` is one in `evaluation.json`. Where a
    standard error is known, its column ends in `.standard_error`. A figure that a run does not
    have is None. Of runs with the same settings and seed, the first has a row.

    Args:
        runs: run folders and folders that hold run folders, or one of them.

    Raises:
        ValueError: a folder that does not exist or has no runs; fewer than two finished runs; a
            damaged file.

    Example:
        >>> [row["test.elbo_nats"] for row in compare("runs")]  # doctest: +SKIP
    """
    table = differing(table_of(runs_to_compare(runs).finished))
    return table.reset_index().to_dict("records")


def runs_to_compare(folders: Paths) -> FoundRuns:
    """Return the runs in folders; arguments and errors are those of `compare`."""
    found = find_runs(folders)
    if len(found.finished) < 2:
        listed = [f"; {why}: {', '.join(others)}" for why, others in found.others.items() if others]
        count = len(found.finished)
        raise ValueError(
            f"compare: expected two finished runs or more, got {count}{''.join(listed)}"
        )
    return found
