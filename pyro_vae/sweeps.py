"""Sweeps: many configurations, each with a run folder of its own."""

import warnings
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyro

from pyro_vae.config import RunConfig
from pyro_vae.data import Dataset
from pyro_vae.engines import choose_engine
from pyro_vae.ensembles import Ensemble
from pyro_vae.grids import combinations, read_grid
from pyro_vae.interrupts import Interrupted, Interrupts
from pyro_vae.members import Member, SweepFolder
from pyro_vae.recording import RunWriter
from pyro_vae.report import write_report
from pyro_vae.runs import Job, Run, load_data, load_run, prepare, resolve_device
from pyro_vae.training import PRECISIONS, Record, Stopped

Key = TypeVar("Key", bound=Hashable)
OWN_ERRORS = (FloatingPointError, ValueError, RuntimeError)  # of a run; OSErrors are the disk's
GOES_ON = "; all is saved, and the same command goes on"
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
    load = load_once(_load_on_device)
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


def load_once(load: Callable[[RunConfig], Dataset], keep: bool = True) -> Callable:
    """A loader that gives alike runs on the same images the same tensors.

    Args:
        keep: all that was loaded, and not the last alone.
    """
    loaded: dict[int | None, Dataset] = {}

    def load_again(config: RunConfig) -> Dataset:
        key = config.seed if config.binarize in ("static", "dynamic") else None
        if key not in loaded:
            if not keep:
                loaded.clear()
            loaded[key] = load(config)
        return loaded[key]

    return load_again


def _load_on_device(config: RunConfig) -> Dataset:
    data, place = load_data(config), (resolve_device(config.device), PRECISIONS[config.precision])
    parts = {n: getattr(data, n) for n in ("train", "validation", "test")}
    moved = {n: replace(p, images=p.images.to(*place)) for n, p in parts.items() if p}
    return replace(data, **moved)


def train_jobs(
    jobs: Mapping[Key, Job],
    *,
    given_up: Collection[Key] = (),
    on_record: Callable[[Key, Record, bool], None] | None = None,
    on_failure: Callable[[Key, FloatingPointError], None],
    on_finish: Callable[[Key], None] | None = None,
    interrupts: Interrupts | None = None,
) -> None:
    """Do jobs of one shape at once, compiled.

    Args:
        given_up: of the jobs; they keep their places in the stacks, so that the others are
            computed as before to the last bit, and are not trained.
        on_failure: called with the error of one that diverged.
        on_finish: called once the folder of one is complete.

    Raises:
        OSError: a folder cannot be written.
        Interrupted: a signal came; the state has been saved.
    """
    keys = list(jobs)
    if set(keys) <= set(given_up):
        return
    ensemble = Ensemble([job.training for job in jobs.values()])
    ensemble.failed |= {i for i, key in enumerate(keys) if key in given_up}
    writers = {key: job.start() for key, job in jobs.items() if key not in given_up}
    with pyro.validation_enabled(False):  # the images are checked; weights, after every epoch
        with interrupts.deferred() if interrupts else nullcontext():
            _train(ensemble, keys, writers, on_record, on_failure, interrupts)
        for key, writer in writers.items():
            writer.finish()
            if on_finish:
                on_finish(key)


def _train(
    ensemble: Ensemble,
    keys: list[Key],
    writers: dict[Key, RunWriter],
    on_record: Callable[[Key, Record, bool], None] | None,
    on_failure: Callable[[Key, FloatingPointError], None],
    interrupts: Interrupts | None,
) -> None:
    """Run the ensemble to its end; of the writers, those that diverged are taken out."""
    try:
        for outcomes in ensemble:
            for key, outcome in ((keys[member], o) for member, o in outcomes.items()):
                if isinstance(outcome, FloatingPointError):
                    on_failure(key, writers.pop(key).failure(outcome))
                    continue
                writers[key].add(outcome)
                if on_record:
                    on_record(key, outcome, writers[key].training.finished)
    except Stopped:
        for writer in writers.values():
            writer.save()
        interrupts.note = GOES_ON


# --- every combination of settings ----------------------------------------------------------------


def sweep(
    grid: Mapping[str, object],
    out: str | Path,
    *,
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
    for device, engine in {(c.device, c.engine) for c in configs.values()}:
        resolve_device(device), choose_engine(engine, 0)
    folder = SweepFolder(out)
    members = folder.members(configs)
    folder.start(values)
    if announce:
        announce(members)
    trainer = _Trainer(on_record, on_end or (lambda member: None), interrupts)
    try:
        for group in _alike(members):
            trainer.train(group)
    except Interrupted as error:
        raise Interrupted(error.signal, GOES_ON) from error
    return {member.name: member.summary() for member in members}


def _alike(members: list[Member]) -> list[list[Member]]:
    groups: dict[RunConfig, list[Member]] = {}
    for member in members:
        groups.setdefault(shape(member.config), []).append(member)
    return list(groups.values())


def trained_at_once(configs: Sequence[RunConfig], training_images: int) -> bool:
    """Whether alike runs of a sweep are trained at once: where their steps in sum pay for it.

    It goes by what the grid asks for, and not by what is left to do, so that a sweep goes on in
    the way it began.
    """
    if len(configs) < 2:
        return False
    sizes = [c.batch_size or min(128, training_images) for c in configs]
    steps = sum(c.epochs * (training_images // size) for c, size in zip(configs, sizes))
    return choose_engine(configs[0].engine, steps).name == "compiled"


class _Trainer:
    """Trains the runs of a sweep, group by group, and marks those that fail."""

    def __init__(
        self,
        on_record: Callable[[str, Record, bool], None] | None,
        on_end: Callable[[Member], None],
        interrupts: Interrupts | None,
    ):
        self.on_record, self.on_end, self.interrupts = on_record, on_end, interrupts

    def train(self, group: list[Member]) -> None:
        """Train what is left of a group of alike runs."""
        if all(member.ended for member in group):
            return
        load = load_once(load_data, keep=False)
        try:
            images = len(load(group[0].config).train)
        except (ValueError, OSError) as error:
            for member in (m for m in group if not m.ended):
                self.fail(member, error)
            return
        if trained_at_once([member.config for member in group], images):
            try:
                self.train_at_once(group)
            except OWN_ERRORS as error:  # of the compiler, say, or of a GPU that is too small
                reason = str(error).strip().partition("\n")[0]
                warnings.warn(f"engine: one run after the other, since {reason}", stacklevel=3)
        for member in group:
            if not member.ended:
                self.train_alone(member, load)

    def train_alone(self, member: Member, load: Callable[[RunConfig], Dataset]) -> None:
        """Train a run, or mark it."""
        on_record = self.on_record and partial(self.on_record, member.name)
        job = self.prepare(member, member.config, load)
        try:
            if isinstance(job, Job):
                job.train(on_record=on_record, interrupts=self.interrupts)
            elif job:  # stopped when all but the report was there
                write_report(member.path)
        except OWN_ERRORS as error:
            self.fail(member, error)
        if not member.failed:
            self.on_end(member)

    def train_at_once(self, group: list[Member]) -> None:
        """Train what is left of a group in one ensemble."""
        load, jobs = load_once(_load_on_device), {}
        for member in (m for m in group if m.failed or not m.ended):
            config = replace(member.config, engine="compiled")
            job = self.prepare(member, config, load)
            if job is None:  # it takes its place, but no part
                with suppress(ValueError, OSError):
                    job = prepare(config, member.path, overwrite=True, load=load)
            if isinstance(job, Job):
                jobs[member] = job
        on_record = self.on_record
        train_jobs(
            jobs,
            given_up=[member for member in jobs if member.failed],
            on_record=on_record and (lambda member, *rest: on_record(member.name, *rest)),
            on_failure=self.fail,
            on_finish=self.on_end,
            interrupts=self.interrupts,
        )

    def prepare(
        self, member: Member, config: RunConfig, load: Callable[[RunConfig], Dataset]
    ) -> Job | Run | None:
        """The job that is left of a run; None for a run that has failed, or does so here."""
        if member.failed:
            return None
        try:
            return prepare(config, member.path, True, interrupts=self.interrupts, load=load)
        except (ValueError, OSError) as error:
            self.fail(member, error)

    def fail(self, member: Member, error: Exception) -> None:
        """Mark a run that failed."""
        member.fail(error)
        self.on_end(member)
