"""A sweep's folder on the disk, and the runs in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pyro_vae.files import check_path_name, exists, replace_file
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.lock import SWEEP_FILE, FolderLock, check_unused
from pyro_vae.runs.resume import check_free, settings_to_resume, visible_entries
from pyro_vae.runs.run import Run
from pyro_vae.settings import DEFAULT_BATCH_SIZE, PLACE
from pyro_vae.sweeps.grid import Grid, save_grid

ENDING = 10.0  # seconds, for the workers of a sweep that was killed to end


def mark_failed(run: Run, error: Exception) -> None:
    """Write into the folder of a run that it has failed, with the reason in one line.

    Raises:
        OSError: the file cannot be written.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    if not run.config_file.exists():
        run.config.save(run.config_file)
    reason = " ".join(str(error).split()) or type(error).__name__
    replace_file(run.failure_file, f"{reason}\n")


class SweepFolder:
    """The folder of a sweep, with a run folder for each combination and the grid in `sweep.yaml`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.grid = self.path / SWEEP_FILE
        self.lock = FolderLock(self.path)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Inside, no other process writes to the folder, from its creation on.

        Raises:
            FolderInUse: another process writes to it.
            ValueError: a folder that is not a sweep's.
        """
        self._check()
        with self.lock:
            if self.path.exists():
                self.lock.acquire()
            yield

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

    def start(self, grid: Grid) -> None:
        """Create the folder and write the grid.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self.lock.held:
            self.lock.create()
        save_grid(self.grid, grid)

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
    check_unused(run.folder, ENDING)
    check_free(run, overwrite=True)
    if run.config_file.exists():
        settings_to_resume(run, run.config, PLACE)


def _saved(path: Path) -> RunConfig | None:
    try:
        return Run(path).config
    except ValueError:
        return None
