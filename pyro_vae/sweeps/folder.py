"""A sweep's folder on the disk, and the runs in it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pyro_vae.files import check_path_name, exists, read_file, replace_file
from pyro_vae.runs.config import RunConfig, check_free, visible_entries
from pyro_vae.runs.lock import PATIENCE, PAUSE, SWEEP_FILE, FolderInUse, FolderLock
from pyro_vae.runs.resume import settings_to_resume
from pyro_vae.runs.run import Run
from pyro_vae.settings import DEFAULT_BATCH_SIZE, PLACE
from pyro_vae.sweeps.grid import Grid, grid_text

WAIT = 5.0  # seconds, for processes that start at the same moment to write their grid


class SweepFolder:
    """The folder of a sweep, with a run folder for each combination and the grid in `sweep.yaml`.

    Several processes may train the same grid. They share the folder's lock, and only a process that
    holds it alone writes another grid.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.grid = self.path / SWEEP_FILE
        self.lock = FolderLock(self.path)

    @contextmanager
    def joined(self, grid: Grid, configs: dict[str, RunConfig]) -> Iterator[list[Run]]:
        """Give the runs of a grid; inside, the folder has this grid, and sweeps alone train there.

        Args:
            grid: which is written if the folder has another one and nobody trains there.
            configs: the configurations of the grid.

        Raises:
            FolderInUse: other processes train another grid there.
            ValueError: as of `runs`; nothing has been written in this case.
            OSError: the folder cannot be written.
        """
        self._check()
        self.path.mkdir(parents=True, exist_ok=True)
        text, until = grid_text(grid), time.monotonic() + WAIT
        with self.lock:
            while not self._joined(text):
                try:
                    self.lock.acquire()
                    self.runs(configs)
                    replace_file(self.grid, text)
                except FolderInUse as error:  # maybe of one that is about to write the same grid
                    if time.monotonic() > until:
                        raise FolderInUse(f"{error}, or give the values of {self.grid}") from None
                    time.sleep(PAUSE)
                finally:
                    self.lock.release()
            yield self.runs(configs)

    def _joined(self, text: str) -> bool:
        """Return whether the folder has this grid, and share its lock in this case."""
        if self._has(text):
            self.lock.acquire(PATIENCE, shared=True)
            if self._has(text):
                return True
            self.lock.release()
        return False

    def _has(self, text: str) -> bool:
        return self.grid.exists() and read_file(self.grid) == text.encode()

    def runs(self, configs: dict[str, RunConfig]) -> list[Run]:
        """Return the runs of the configurations, with the folders that they have or will get.

        A run to which an earlier grid gave another name keeps its folder and its name.

        Raises:
            ValueError: a folder that is not a sweep's; a run's folder that holds other settings or
                is no run folder.
        """
        self._check()
        earlier = self._earlier(configs)
        runs = []
        for name, config in configs.items():
            if config.identity in earlier and not (self.path / name).exists():
                name = earlier[config.identity]
                earlier = {c: other for c, other in earlier.items() if other != name}
            runs.append(Run(self.path / name, config))
            _check_run(runs[-1])
        return runs

    def _check(self) -> None:
        check_path_name("out", self.path)
        if exists(self.path) and not self.path.is_dir():
            raise ValueError(f"out: {self.path} is there already, and is not a folder")
        if visible_entries(self.path) and not self.grid.exists():
            raise ValueError(
                f"out: {self.path} is no sweep: it has no sweep.yaml; name another folder"
            )

    def _earlier(self, configs: dict[str, RunConfig]) -> dict[tuple, str]:
        """Return the names of other runs in the folder, by their identities."""
        others = {p.name: _saved(p) for p in visible_entries(self.path) if p.name not in configs}
        saved = [(config, name) for name, config in others.items() if config]
        names = {config.identity: name for config, name in saved}
        saved.sort(key=lambda each: each[0].batch_size == DEFAULT_BATCH_SIZE)  # the default last
        unset = {replace(config, batch_size=None).identity: name for config, name in saved}
        return names | unset


def _check_run(run: Run) -> None:
    check_free(run.folder, overwrite=True)
    if run.config_file.exists():
        settings_to_resume(run, run.config, PLACE)


def _saved(path: Path) -> RunConfig | None:
    try:
        return Run(path).config
    except ValueError:
        return None
