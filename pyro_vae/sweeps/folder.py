"""A sweep's folder on the disk, and the runs in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pyro_vae.files import check_path_name, exists, replace_file
from pyro_vae.runs.claim import SWEEP_FILE, check_free, compare_settings, visible_entries
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.lock import FolderLock, check_unused
from pyro_vae.runs.run import Run
from pyro_vae.settings import DEFAULT_BATCH_SIZE
from pyro_vae.sweeps.grid import Grid, save_grid

ENDING = 10.0  # seconds, for the workers of a sweep that was killed to end
MAY_DIFFER_FROM_FOLDER = (
    "device",
    "engine",
    "data_dir",
    "data_limit",
)  # settings of runs that it holds already


@dataclass(frozen=True)
class Member:
    """A run of a sweep, with its name, its settings, and the path of its folder."""

    name: str
    config: RunConfig
    path: Path

    @property
    def mark(self) -> Path:
        """Return the path of the file that says why the run failed, if it did."""
        return RunFolder(self.path).failure

    @property
    def failed(self) -> bool:
        """Return whether the run has failed; it is not tried again."""
        return self.mark.exists()

    @property
    def ended(self) -> bool:
        """Return whether the run is finished or has failed."""
        return self.failed or Run(self.path, self.config).finished

    def summary(self) -> dict | None:
        """Return the content of the finished run's `summary.json`, or None if the run failed.

        Raises:
            ValueError: a file that is not JSON.
        """
        return None if self.failed else Run(self.path, self.config).summary

    def fail(self, error: Exception) -> None:
        """Mark the run as failed, with the reason in one line.

        Raises:
            OSError: the file cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not RunFolder(self.path).config.exists():
            self.config.save(RunFolder(self.path).config)
        reason = " ".join(str(error).split()) or type(error).__name__
        replace_file(self.mark, f"{reason}\n")


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

    def members(self, configs: dict[str, RunConfig]) -> list[Member]:
        """Return the runs of the configurations, with the folders that they have or will get.

        A run to which an earlier grid gave another name keeps its folder and its name.

        Raises:
            ValueError: a folder that is not a sweep's; a run's folder that holds other settings or
                is no run folder.
        """
        self._check()
        earlier = self._earlier(configs)
        members = []
        for name, config in configs.items():
            if _identity(config) in earlier and not (self.path / name).exists():
                name = earlier[_identity(config)]
                earlier = {c: other for c, other in earlier.items() if other != name}
            members.append(Member(name, config, self.path / name))
            self._check_member(members[-1])
        return members

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

    def _earlier(self, configs: dict[str, RunConfig]) -> dict[RunConfig, str]:
        """Return the names of other runs in the folder, by their settings."""
        others = {p.name: _saved(p) for p in visible_entries(self.path) if p.name not in configs}
        names = {_identity(config): name for name, config in others.items() if config}
        default_last = sorted(names, key=lambda config: config.batch_size == DEFAULT_BATCH_SIZE)
        unset = {replace(config, batch_size=None): names[config] for config in default_last}
        return names | unset

    def _check_member(self, member: Member) -> None:
        folder = RunFolder(member.path)
        check_unused(folder.path, ENDING)
        check_free(folder, overwrite=True)
        if not folder.config.exists():
            return
        saved = RunConfig.load(folder.config)
        _, difference = compare_settings(saved, member.config, MAY_DIFFER_FROM_FOLDER)
        if difference:
            name, before, now = difference
            raise ValueError(
                f"out: {name} is {before} in {member.path}, got {now}; name another folder"
            )


def _saved(path: Path) -> RunConfig | None:
    try:
        return RunConfig.load(RunFolder(path).config)
    except ValueError:
        return None


def _identity(config: RunConfig) -> RunConfig:
    return replace(config, **{name: getattr(RunConfig, name) for name in MAY_DIFFER_FROM_FOLDER})
