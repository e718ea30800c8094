"""Sweeps: many configurations, each with a run folder of its own."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupted, Interrupts
from pyro_vae.sweeps.folder import Member, SweepFolder
from pyro_vae.sweeps.grid import combinations, read_grid, shape
from pyro_vae.sweeps.ray import on_cluster
from pyro_vae.sweeps.together import GOES_ON
from pyro_vae.sweeps.trainer import Trainer
from pyro_vae.training.engines import choose_engine
from pyro_vae.training.loop import Record


def sweep(
    grid: Mapping[str, object],
    out: str | Path,
    *,
    ray: str | None = None,
    announce: Callable[[list[Member]], None] | None = None,
    on_record: Callable[[str, Record, bool], None] | None = None,
    on_end: Callable[[Member], None] | None = None,
    interrupts: Interrupts | None = None,
) -> dict[str, dict | None]:
    """Train every combination of settings, each in a run folder under `out`.

    Called again, it goes on where it was stopped; runs that are finished are left as they are, and
    so are those that failed. Alike runs are trained at once where compiling pays for all of them
    together, the others one by one.

    Args:
        grid: by field of `RunConfig`, a value or a list of values.
        out: the sweep's folder: a new one, or that of an earlier grid, whose runs stay.
        ray: the address of a Ray cluster to train on, or `local` to start one on this machine;
            the one that this process is connected to, where it is. All machines must share `out`
            and the data. A lost worker's runs go on, on another, from their checkpoints.
        announce: called once before training, with the runs.
        on_record: called after every epoch of a run: its name, record, whether the last.
        on_end: called with a run that is finished or has failed.
        interrupts: signals that end training after its step, when all of it has been saved.

    Returns:
        What is in each run's `summary.json`, by the run's name; None for one that failed, whose
        `failed.txt` says why.

    Raises:
        ValueError: settings that do not fit or do not go together, or do not fit what is in the
            folder; nothing has been written then.
        OSError: a folder cannot be written.
        Interrupted: a signal came; the state has been saved.

    Example:
        >>> sweep({"beta": [1, 4], "epochs": 20}, "runs/betas")  # doctest: +SKIP
    """
    values = read_grid(grid)
    configs = combinations(values)
    folder = SweepFolder(out)
    members = folder.members(configs)
    arguments = on_record, on_end or (lambda member: None), interrupts
    with on_cluster(ray, *arguments) if ray else nullcontext(Trainer(*arguments)) as trainer:
        for device, engine in {(c.device, c.engine) for c in configs.values()}:
            trainer.check_device(device), choose_engine(engine, 0)
        folder.start(values)
        if announce:
            announce(members)
        try:
            trainer.train(_alike(members))
        except Interrupted as error:
            raise Interrupted(error.signal, GOES_ON) from error
    return {member.name: member.summary() for member in members}


def _alike(members: list[Member]) -> list[list[Member]]:
    groups: dict[RunConfig, list[Member]] = {}
    for member in members:
        groups.setdefault(shape(member.config), []).append(member)
    return list(groups.values())
