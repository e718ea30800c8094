"""`sweep`: every combination of settings, each in a run folder of its own."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupted
from pyro_vae.sweeps.folder import Member, SweepFolder
from pyro_vae.sweeps.grid import combinations, common_settings, read_grid
from pyro_vae.sweeps.observer import SweepObserver
from pyro_vae.sweeps.ray import on_cluster
from pyro_vae.sweeps.together import RESUMES
from pyro_vae.sweeps.trainer import Trainer
from pyro_vae.training.engines import choose_engine


def sweep(
    grid: Mapping[str, object],
    out: str | Path,
    *,
    ray: str | None = None,
    observer: SweepObserver | None = None,
) -> dict[str, dict | None]:
    """Train every combination of settings, each in a run folder under `out`.

    Called again, a sweep resumes where it was stopped; runs that are finished or failed are left
    as they are. Runs that differ in beta, seed, learning rate and sigma only are trained in one
    batched step where that pays for its compilation, the others one by one.

    Args:
        grid: by field of `RunConfig`, a value or a list of values.
        out: the sweep's folder: a new one, or that of an earlier grid, whose runs stay.
        ray: the address of a Ray cluster to train on, or `local` to start one on this machine; a
            cluster that this process is connected to already takes precedence. All machines must
            share `out` and the data. The runs of a lost worker resume on another.
        observer: is told what happens; its `interrupts` can stop training.

    Returns:
        The content of each run's `summary.json`, by the run's name; None for one that failed, whose
        `failed.txt` says why.

    Raises:
        ValueError: settings that do not fit or do not go together, or do not fit what is in the
            folder; nothing has been written then.
        OSError: a folder cannot be written.
        Interrupted: a signal came; the state has been saved.

    Example:
        >>> sweep({"beta": [1, 4], "epochs": 20}, "runs/betas")  # doctest: +SKIP
    """
    observer = observer or SweepObserver()
    values = read_grid(grid)
    configs = combinations(values)
    folder = SweepFolder(out)
    members = folder.members(configs)
    with on_cluster(ray, observer) if ray else nullcontext(Trainer(observer)) as trainer:
        for device, engine in {(c.device, c.engine) for c in configs.values()}:
            trainer.check_device(device)
            choose_engine(engine, 0)  # refuses an engine that this machine lacks
        folder.start(values)
        observer.started(members)
        try:
            trainer.train(_alike(members))
        except Interrupted as error:
            raise Interrupted(error.signal, RESUMES) from error
    return {member.name: member.summary() for member in members}


def _alike(members: list[Member]) -> list[list[Member]]:
    """Return the members in groups that can be trained together."""
    groups: dict[RunConfig, list[Member]] = {}
    for member in members:
        groups.setdefault(common_settings(member.config), []).append(member)
    return list(groups.values())
