"""Runs of the same architecture, trained in one batched step."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pyro

from pyro_vae.data import Dataset
from pyro_vae.devices import resolve_device
from pyro_vae.randomness import one_at_a_time
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.data import load_data
from pyro_vae.runs.observer import Observer, failures_told
from pyro_vae.runs.run import Run, load_run
from pyro_vae.runs.train import Job, Load, locate
from pyro_vae.sweeps.grid import MAY_DIFFER, common_settings
from pyro_vae.training.ensembles import Ensemble, Outcome, Programs
from pyro_vae.training.fit import PRECISIONS
from pyro_vae.training.loop import Stopped

RESUMES = "; all is saved, and the same command resumes"


@one_at_a_time()
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
    load, jobs, going = load_once(load_on_device), [], []
    with ExitStack() as held:
        for observer, config, folder in zip(observers, configs, folders):
            job = locate(replace(config, engine="compiled"), folder, resume, overwrite)
            held.callback(job.release)
            jobs.append(job)
            if not job.finished:
                job.build(job.load(load), observer)
                going.append(job)
        with failures_told([job.observer for job in going]):
            failures = train_together(going)
    return [failures.get(job) or load_run(folder) for job, folder in zip(jobs, folders)]


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


def load_once(load: Load) -> Load:
    """Return a loader for runs on the same images, which loads their data set once."""
    loaded: list[Dataset] = []

    def load_again(config: RunConfig) -> Dataset:
        if not loaded:
            loaded.append(load(config))
        return loaded[0]

    return load_again


def load_on_device(config: RunConfig, load: Load = load_data) -> Dataset:
    """Return the data set on the run's device, in the run's number format."""
    return load(config).to(resolve_device(config.device), PRECISIONS[config.precision])


def train_together(
    jobs: Sequence[Job],
    *,
    idle: Collection[Job] = (),
    stack: int | None = None,
    programs: Programs | None = None,
) -> dict[Job, FloatingPointError]:
    """Train jobs of the same architecture in one batched step.

    Args:
        jobs: the jobs, which have been built.
        idle: those of them that are not trained. They keep their places in the stacks, so that the
            others are computed as before to the last bit.
        stack, programs: as in `Ensemble`.

    Returns:
        The errors of the jobs that diverged.

    Raises:
        OSError: a folder cannot be written.
        Interrupted: a signal came; the state has been saved.
    """
    going = [job for job in jobs if job not in idle]
    if not going:
        return {}
    ensemble = Ensemble([job.training for job in jobs], stack, programs)
    ensemble.failed |= {n for n, job in enumerate(jobs) if job in idle}
    for job in going:
        job.claim()
    for job in going:
        job.begin()
    interrupts = going[0].observer.interrupts
    failures: dict[Job, FloatingPointError] = {}
    with pyro.validation_enabled(False):  # images and weights are checked elsewhere
        ensemble.prepare()  # while signals end the work: there is nothing to save yet
        for job in going:
            job.observer.prepared()
        with interrupts.deferred():
            try:
                for outcomes in ensemble:
                    failures |= _failures({jobs[n]: each for n, each in outcomes.items()})
            except Stopped:
                for job in going:
                    if job not in failures:
                        job.writer.save()
                if interrupts.pending is None:  # an observer asked for it in another way
                    raise
                interrupts.note = RESUMES
        for job in going:
            if job not in failures:
                job.finish()
    return failures


def _failures(outcomes: Mapping[Job, Outcome]) -> dict[Job, FloatingPointError]:
    """Write the records of an epoch, and return the errors of the jobs that diverged in it."""
    failures = {}
    for job, outcome in outcomes.items():
        if isinstance(outcome, FloatingPointError):
            failures[job] = job.failure(outcome)
            job.observer.failed(failures[job])
        else:
            job.add(outcome)
    return failures
