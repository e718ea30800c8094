"""Runs of one shape trained together: one compiled step for all of them."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyro

from pyro_vae.data import Dataset
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.run import Run, load_data, load_run, resolve_device
from pyro_vae.runs.train import Job, prepare
from pyro_vae.runs.writer import RunWriter
from pyro_vae.sweeps.grid import MAY_DIFFER, shape
from pyro_vae.training.ensembles import Ensemble
from pyro_vae.training.loop import PRECISIONS, Record, Stopped

Key = TypeVar("Key", bound=Hashable)
Load = Callable[[RunConfig], Dataset]
GOES_ON = "; all is saved, and the same command goes on"


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


def load_once(load: Load, keep: bool = True) -> Load:
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


def load_on_device(config: RunConfig, load: Load = load_data) -> Dataset:
    """The data set where the run is trained, and in its precision."""
    data, place = load(config), (resolve_device(config.device), PRECISIONS[config.precision])
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
    stack: int | None = None,
) -> None:
    """Do jobs of one shape at once, compiled.

    Args:
        given_up: of the jobs; they keep their places in the stacks, so that the others are
            computed as before to the last bit, and are not trained.
        on_failure: called with the error of one that diverged.
        on_finish: called once the folder of one is complete.
        stack: places in a stack, as in `Ensemble`.

    Raises:
        OSError: a folder cannot be written.
        Interrupted: a signal came; the state has been saved.
    """
    keys = list(jobs)
    if set(keys) <= set(given_up):
        return
    ensemble = Ensemble([job.training for job in jobs.values()], stack)
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
