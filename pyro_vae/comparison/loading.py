"""Finished runs with their models, as a sequence from which settings choose."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import overload

import pandas as pd

from pyro_vae.comparison.table import Paths, figures_by_column, find_runs
from pyro_vae.names import check_name
from pyro_vae.notices import notice
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.run import Run, load_run

SETTINGS = tuple(field.name for field in fields(RunConfig))


class Runs(Sequence[Run]):
    """Finished runs, in the order of their folders.

    Args:
        runs: the runs.
    """

    def __init__(self, runs: Sequence[Run]):
        self._runs = tuple(runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...

    def __getitem__(self, index):
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __repr__(self) -> str:
        return f"Runs({[str(run.folder) for run in self]})"

    def where(self, **settings: object) -> "Runs":
        """Return the runs that have these settings; a list stands for any of its values.

        Raises:
            ValueError: a name that is no setting.
        """
        for name in settings:
            check_name("where: setting", name, SETTINGS)
        return Runs([run for run in self if _has(run, settings)])

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
        """Return a row for each run: all its settings, and the figures in its folder.

        The rows are named by the runs' folders. The figures have the columns of `compare`, such as
        `test.elbo_nats` of `summary.json` and `samples.frechet_distance_samples` of
        `evaluation.json`. Where a standard error is known, its column ends in `.standard_error`.
        """
        rows = [asdict(run.config) | _figures(run) for run in self]
        folders = [str(run.folder) for run in self]
        return pd.DataFrame(rows, index=pd.Index(folders, name="folder"))


def _has(run: Run, settings: dict[str, object]) -> bool:
    for name, wanted in settings.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if getattr(run.config, name) not in values:
            return False
    return True


def _figures(run: Run) -> dict[str, object]:
    return figures_by_column(run.summary or {}, run.current_parts)


def load_runs(folders: Paths) -> Runs:
    """Return the finished runs in folders, with their models on the CPU in `eval` mode.

    Runs that are not finished and runs that failed are left out, and a notice counts them.

    Args:
        folders: run folders and folders that hold run folders, or one of them.

    Raises:
        ValueError: a folder that does not exist or has no runs; a damaged file.

    Example:
        >>> runs = load_runs("runs/betas")  # doctest: +SKIP
        >>> runs.where(likelihood="laplace", beta=[1, 4]).table()  # doctest: +SKIP
    """
    found = find_runs(folders)
    finished = [folder for folder in found if _is_finished(folder)]
    if len(finished) < len(found):
        notice(f"load_runs: {len(found) - len(finished)} of {len(found)} runs are not finished")
    return Runs([load_run(folder.path) for folder in finished])


def _is_finished(folder: RunFolder) -> bool:
    if folder.failure.exists():
        return False
    return Run(folder.path).summary is not None
