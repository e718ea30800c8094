"""Runs of the same architecture, trained in one batched step."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import pyro

from pyro_vae.data import Dataset
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.observer import Observer
from pyro_vae.runs.run import Run, load_data, load_run, resolve_device
from pyro_vae.runs.train import Job, Load, build, locate
from pyro_vae.runs.writer import RunWriter
from pyro_vae.sweeps.grid import MAY_DIFFER, common_settings
from pyro_vae.training.ensembles import Ensemble
from pyro_vae.training.fit import PRECISIONS
from pyro_vae.training.loop import Stopped

RESUMES = "; all is saved, and the same command resumes"


def train_many(
    configs: Sequence[RunConfig],
    folders: Sequence[str | Path],
    *,
    resume: bool = False,
    overwrite: bool = False,
    observers: Sequence[Observer] | None = None,
) -> list[Run | FloatingPointError]:
    """Train runs of the same architecture in one batched step, each into a folder as by `train`.

    The step is compiled, whatever `engine` says. If a run diverges, the others continue. Its last
    finite checkpoint stays in its folder, and its error is in the list.

    Args:
        configs: configurations that differ in beta, seed, learning rate and fixed sigma only.
        folders: one folder for each run.
        resume: whether to resume the runs in the folders; finished runs stay as they are.
        overwrite: whether to replace the runs in the folders.
        observers: one for each run, called at its events. The `interrupts` of the first one can
            stop training.

    Raises:
        ValueError: configurations that differ in other settings, or do not fit the data or the
            folders; nothing has been written in this case.
        OSError: a folder cannot be written, or the data of a resumed run cannot be read.
        Interrupted: a signal came; the state has been saved.
    """
    _check_alike(configs, folders)
    observers = observers or [Observer() for _ in configs]
    load, jobs = load_once(load_on_device), {}
    with ExitStack() as locks:
        for observer, config, folder in zip(observers, configs, folders):
            start = locate(replace(config, engine="compiled"), folder, resume, overwrite)
            locks.callback(start.release)
            if not start.finished:
                jobs[observer] = build(start, start.load(load), observer)
        failures = train_jobs(jobs)
    return [failures.get(o) or load_run(folder) for o, folder in zip(observers, folders)]


def _check_alike(configs: Sequence[RunConfig], folders: Sequence[str | Path]) -> None:
    if len(configs) != len(folders):
        raise ValueError(f"folders: expected {len(configs)}, got {len(folders)}")
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise ValueError("folders: expected a folder for each run, got one twice")
    first, *others = (common_settings(c) for c in configs)
    for number, other in enumerate(others, 1):
        if other != first:
            names = ", ".join(MAY_DIFFER)
            raise ValueError(f"configs: {number} differs from 0 in more than {names}")


def load_once(load: Load, keep: bool = True) -> Load:
    """Return a loader that loads the data set of runs on the same images only once.

    Args:
        keep: whether to keep all data sets that were loaded, and not the last one only.
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


def load_on_device(config: RunConfig, load: Load = load_data) -> Dataset:
    """Return the data set on the run's device, in the run's number format."""
    return load(config).to(resolve_device(config.device), PRECISIONS[config.precision])


def train_jobs(
    jobs: Mapping[Observer, Job],
    *,
    idle: Collection[Observer] = (),
    stack: int | None = None,
) -> dict[Observer, FloatingPointError]:
    """Train jobs of the same architecture in one batched step, each with its observer.

    Args:
        idle: the observers of jobs that are not trained. These jobs keep their places in the
            stacks, so that the others are computed as before to the last bit.
        stack: places in a stack, as in `Ensemble`.

    Returns:
        The errors of the jobs that diverged, by their observers.

    Raises:
        OSError: a folder cannot be written.
        Interrupted: a signal came; the state has been saved.
    """
    observers = list(jobs)
    if set(observers) <= set(idle):
        return {}
    ensemble = Ensemble([job.training for job in jobs.values()], stack)
    ensemble.failed |= {i for i, observer in enumerate(observers) if observer in idle}
    with ExitStack() as locks:
        for observer, job in jobs.items():
            if observer not in idle:
                locks.enter_context(job.locked())
        return _train_locked(ensemble, observers, jobs, idle)


def _train_locked(
    ensemble: Ensemble,
    observers: list[Observer],
    jobs: Mapping[Observer, Job],
    idle: Collection[Observer],
) -> dict[Observer, FloatingPointError]:
    """Train in folders that are locked; arguments and results as those of `train_jobs`."""
    interrupts = observers[0].interrupts
    writers = {o: job.start() for o, job in jobs.items() if o not in idle}
    for observer in writers:
        job = jobs[observer]
        observer.started(job.folder, job.config, job.data, job.training)
    with pyro.validation_enabled(False):  # images and weights are checked elsewhere
        ensemble.prepare()  # while signals end the work: there is nothing to save yet
        with interrupts.deferred() if interrupts else nullcontext():
            failures = _train(ensemble, observers, writers, interrupts)
        for observer, writer in writers.items():
            writer.finish()
            observer.finished()
    return failures


def _train(
    ensemble: Ensemble,
    observers: list[Observer],
    writers: dict[Observer, RunWriter],
    interrupts: Interrupts | None,
) -> dict[Observer, FloatingPointError]:
    """Run the ensemble to its end, and return the errors of the jobs that diverged.

    The writers of these jobs are removed from `writers`.
    """
    failures = {}
    try:
        for outcomes in ensemble:
            for member, outcome in outcomes.items():
                observer = observers[member]
                if isinstance(outcome, FloatingPointError):
                    failures[observer] = writers.pop(observer).failure(outcome)
                    observer.failed(failures[observer])
                else:
                    writers[observer].add(outcome)
                    observer.epoch(outcome, writers[observer].training.finished)
    except Stopped:
        for writer in writers.values():
            writer.save()
        if interrupts is None:  # an observer asked for it in another way
            raise
        interrupts.note = RESUMES
    return failures
