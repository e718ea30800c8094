"""Sweeps: many configurations, each with a run folder of its own."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pyro

from pyro_vae.config import RunConfig
from pyro_vae.data import Dataset
from pyro_vae.ensembles import Ensemble
from pyro_vae.interrupts import Interrupts
from pyro_vae.recording import RunWriter
from pyro_vae.runs import Job, Run, load_data, load_run, prepare, resolve_device
from pyro_vae.training import PRECISIONS, Record, Stopped

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
    load = _load_once()
    jobs = [
        prepare(replace(c, engine="compiled"), out, resume, overwrite, interrupts, load)
        for c, out in zip(configs, folders)
    ]
    waiting = [i for i, job in enumerate(jobs) if isinstance(job, Job)]
    failed: dict[int, FloatingPointError] = {}
    if waiting:
        ensemble = Ensemble([jobs[i].training for i in waiting])
        writers = {i: jobs[i].start() for i in waiting}
        with pyro.validation_enabled(False):  # the images are checked; weights, after every epoch
            with interrupts.deferred() if interrupts else nullcontext():
                failed = _train(ensemble, writers, on_record, interrupts)
            for i in set(waiting) - set(failed):
                writers[i].finish()
    return [failed.get(i) or load_run(folder) for i, folder in enumerate(folders)]


def _check_alike(configs: Sequence[RunConfig], folders: Sequence[str | Path]) -> None:
    if len(configs) != len(folders):
        raise ValueError(f"folders: expected {len(configs)}, got {len(folders)}")
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise ValueError("folders: expected a folder for each run, got one twice")
    first, *others = (
        replace(c, **{n: getattr(configs[0], n) for n in MAY_DIFFER}) for c in configs
    )
    for number, other in enumerate(others, 1):
        if other != first:
            names = ", ".join(MAY_DIFFER)
            raise ValueError(f"configs: {number} differs from 0 in more than {names}")


def _load_once() -> Callable[[RunConfig], Dataset]:
    """A loader that gives runs on the same images the same tensors, on the device."""
    loaded: dict[int | None, Dataset] = {}

    def load(config: RunConfig) -> Dataset:
        key = config.seed if config.binarize in ("static", "dynamic") else None
        if key not in loaded:
            data, place = (
                load_data(config),
                (resolve_device(config.device), PRECISIONS[config.precision]),
            )
            parts = {n: getattr(data, n) for n in ("train", "validation", "test")}
            moved = {n: replace(p, images=p.images.to(*place)) for n, p in parts.items() if p}
            loaded[key] = replace(data, **moved)
        return loaded[key]

    return load


def _train(
    ensemble: Ensemble,
    writers: dict[int, RunWriter],
    on_record: Callable[[int, Record, bool], None] | None,
    interrupts: Interrupts | None,
) -> dict[int, FloatingPointError]:
    """Run the ensemble to its end; the errors of those that diverged, by number."""
    numbers, failed = list(writers), {}
    try:
        for outcomes in ensemble:
            for i, outcome in ((numbers[member], o) for member, o in outcomes.items()):
                if isinstance(outcome, FloatingPointError):
                    failed[i] = writers[i].failure(outcome)
                    continue
                writers[i].add(outcome)
                if on_record:
                    on_record(i, outcome, writers[i].training.finished)
    except Stopped:
        for i in set(numbers) - set(failed):
            writers[i].save()
        interrupts.note = "; all is saved, and the same command goes on"
    return failed
