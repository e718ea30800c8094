"""Sweeps: many configurations, each with a run folder of its own."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from pyro_vae.clusters import on_cluster
from pyro_vae.config import RunConfig
from pyro_vae.engines import choose_engine
from pyro_vae.grids import combinations, read_grid
from pyro_vae.interrupts import Interrupted, Interrupts
from pyro_vae.members import Member, SweepFolder
from pyro_vae.runs import Job, Run, load_run, prepare
from pyro_vae.trainers import GOES_ON, Trainer, load_on_device, load_once, train_jobs
from pyro_vae.training import Record

MAY_DIFFER = ("beta", "seed", "learning_rate", "sigma")  # among runs that are trained at once


def train_many(
    configs: Sequence[RunConfig],
    folders: Sequence[str | Path],
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_record: Callable[[int, Record, bool], None] | None = None,
    interrupts: Interrupts | None = None,
) -> list[Run | FloatingPointError]:
    """Train models of one shape at once; each leaves the run folder that `train` would.

    Their steps are taken together, compiled, whatever `engine` says. One that diverges ends alone,
    with its last finite checkpoint in its folder and its error in the list; the others go on.

    Args:
        configs: alike but for beta, seed, learning rate and fixed sigma.
        folders: one for each.
        resume: go on in the folders from their checkpoints; finished runs are left as they are.
        overwrite: replace the runs in the folders.
        on_record: called after every epoch of each run: its number, record, whether the last.
        interrupts: signals that end training after its step, when all of it has been saved.

    Raises:
        ValueError: configurations that differ in more, or do not fit the data or the folders;
            nothing has been written then.
        OSError: a folder cannot be written, or the data of a resumed run cannot be read.
        Interrupted: a signal came; the state has been saved.
    """
    _check_alike(configs, folders)
    load = load_once(load_on_device)
    jobs = [
        prepare(replace(c, engine="compiled"), out, resume, overwrite, interrupts, load)
        for c, out in zip(configs, folders)
    ]
    failed: dict[int, FloatingPointError] = {}
    train_jobs(
        {i: job for i, job in enumerate(jobs) if isinstance(job, Job)},
        on_record=on_record,
        on_failure=failed.__setitem__,
        interrupts=interrupts,
    )
    return [failed.get(i) or load_run(folder) for i, folder in enumerate(folders)]


def _check_alike(configs: Sequence[RunConfig], folders: Sequence[str | Path]) -> None:
    if len(configs) != len(folders):
        raise ValueError(f"folders: expected {len(configs)}, got {len(folders)}")
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise ValueError("folders: expected a folder for each run, got one twice")
    first, *others = (shape(c) for c in configs)
    for number, other in enumerate(others, 1):
        if other != first:
            names = ", ".join(MAY_DIFFER)
            raise ValueError(f"configs: {number} differs from 0 in more than {names}")


def shape(config: RunConfig) -> RunConfig:
    """The same for all runs that can be trained at once: what may differ is at its default."""
    return replace(config, **{name: getattr(RunConfig, name) for name in MAY_DIFFER})


# --- every combination of settings ----------------------------------------------------------------


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
