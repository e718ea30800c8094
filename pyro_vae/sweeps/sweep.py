"""`sweep`: every combination of settings, each in its own run folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pyro_vae.devices import resolve_device
from pyro_vae.randomness import one_at_a_time
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupted
from pyro_vae.runs.run import Run
from pyro_vae.settings import DEFAULT_BATCH_SIZE
from pyro_vae.sweeps.folder import SweepFolder
from pyro_vae.sweeps.grid import Grid, combinations, common_settings, read_grid
from pyro_vae.sweeps.observer import SweepObserver
from pyro_vae.sweeps.together import RESUMES
from pyro_vae.sweeps.trainer import Trainer
from pyro_vae.training.engines import choose_engine


@one_at_a_time()
def sweep(
    grid: Mapping[str, object],
    out: str | Path,
    *,
    observer: SweepObserver | None = None,
) -> dict[str, dict | None]:
    """Train every combination of settings, each in a run folder under `out`.

    A sweep that is called again resumes where it stopped. Runs that are finished or have failed
    stay as they are. Runs that differ in beta, seed, learning rate and sigma only are trained in
    one batched step where that pays for its compilation. All others are trained one by one.

    Several processes can train the same grid in the same folder, also on several machines. Each
    takes runs that no other has, and returns when none are left to take.

    Args:
        grid: a value or a list of values for each field of `RunConfig` that is set.
        out: the sweep's folder, which is new or holds an earlier grid, whose runs stay.
        observer: called at the events of the sweep; its `interrupts` can stop training.

    Returns:
        The content of each run's `summary.json`, by the run's name. It is None for a run that
        failed, whose `failed.txt` says why, and for one that another process still trains.

    Raises:
        ValueError: settings that do not fit, contradict each other, or differ from those in the
            folder; nothing has been written in this case.
        FolderInUse: other processes train another grid in the folder.
        OSError: a folder cannot be written.
        Interrupted: a signal came; the state has been saved.

    Example:
        >>> sweep({"beta": [1, 4], "epochs": 20}, "runs/betas")  # doctest: +SKIP
    """
    observer = observer or SweepObserver()
    values = read_grid(grid)
    configs = combinations(values)
    for device, engine in {(c.device, c.engine) for c in configs.values()}:
        choose_engine(engine, 0, resolve_device(device).type)  # refuses what this machine lacks
    _check_differ(values, configs)
    with SweepFolder(out).joined(values, configs) as runs:
        observer.started(runs)
        try:
            Trainer(observer).train(_alike(runs))
        except Interrupted as error:
            raise Interrupted(error.signal, RESUMES) from error
        now = [run.reread() for run in runs]
        return {run.name: None if run.failed else run.summary for run in now}


def _check_differ(grid: Grid, configs: dict[str, RunConfig]) -> None:
    """Raise a ValueError if runs of a grid differ only in settings that change no result."""
    alike = {  # an unset batch size is the default one
        replace(config, batch_size=config.batch_size or DEFAULT_BATCH_SIZE).identity
        for config in configs.values()
    }
    if len(configs) > 1 and len(alike) == 1:
        names = " and ".join(name for name, values in grid.items() if len(values) > 1)
        raise ValueError(
            f"{names}: the runs differ in nothing else, and so have the same results; give it one"
            " value, or several values to another setting, such as the seed"
        )


def _alike(runs: list[Run]) -> list[list[Run]]:
    """Return the runs in groups that can be trained together."""
    groups: dict[RunConfig, list[Run]] = {}
    for run in runs:
        groups.setdefault(common_settings(run.config), []).append(run)
    return list(groups.values())
