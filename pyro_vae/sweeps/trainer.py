"""Training of many runs: those of one shape at once, others one after the other."""

import warnings
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from pyro_vae.data import Dataset
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.report import write_report
from pyro_vae.runs.run import Run, build_model, load_data, resolve_device
from pyro_vae.runs.train import Job, prepare
from pyro_vae.sweeps.folder import Member
from pyro_vae.sweeps.together import load_on_device, load_once, train_jobs
from pyro_vae.training.engines import choose_engine
from pyro_vae.training.ensembles import stack_size
from pyro_vae.training.loop import Record

Key = TypeVar("Key", bound=Hashable)
Load = Callable[[RunConfig], Dataset]
OWN_ERRORS = (FloatingPointError, ValueError, RuntimeError)  # of a run; OSErrors are the disk's
GOES_ON = "; all is saved, and the same command goes on"


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


class Unit(NamedTuple):
    """Runs of a group that one process trains; as many as fill a stack, or a single one."""

    members: list[Member]
    stack: int | None  # its places; None where the run is trained by itself


def units(group: list[Member], device: str, load: Load = load_data) -> list[Unit]:
    """A group of alike runs, cut where the stacks of one process end: none is computed otherwise.

    Args:
        device: the type of that on which they will be trained.

    Raises:
        ValueError, OSError: there are no such data, or they do not fit.
    """
    first, data = group[0].config, load(group[0].config)
    if not trained_at_once([member.config for member in group], len(data.train)):
        return [Unit([member], None) for member in group]
    model = build_model(first, data.image_shape, data.levels)
    size = stack_size(len(group), model, device)
    return [Unit(group[start : start + size], size) for start in range(0, len(group), size)]


class Trainer:
    """Trains the runs of a sweep, group by group, and marks those that fail."""

    def __init__(
        self,
        on_record: Callable[[str, Record, bool], None] | None,
        on_end: Callable[[Member], None],
        interrupts: Interrupts | None,
        load: Load = load_data,
    ):
        self.on_record, self.on_end, self.interrupts = on_record, on_end, interrupts
        self.load = load

    def check_device(self, name: str) -> None:
        """Raise a ValueError where there is no such device."""
        resolve_device(name)

    def train(self, groups: list[list[Member]]) -> None:
        """Train what is left of groups of alike runs."""
        for group in groups:
            if not all(member.ended for member in group):
                self._train_group(group)

    def _train_group(self, group: list[Member]) -> None:
        load = load_once(self.load, keep=False)
        try:
            images = len(load(group[0].config).train)
        except (ValueError, OSError) as error:
            for member in (m for m in group if not m.ended):
                self.fail(member, error)
            return
        at_once = trained_at_once([member.config for member in group], images)
        self.train_together(group, at_once, load)

    def train_unit(self, unit: Unit) -> None:
        """Train what is left of a part of a group."""
        load = load_once(self.load, keep=False)
        self.train_together(unit.members, unit.stack is not None, load, unit.stack)

    def train_together(
        self, group: list[Member], at_once: bool, load: Load, stack: int | None = None
    ) -> None:
        """Train alike runs at once, or where that fails or is not wanted, one by one."""
        if at_once:
            try:
                self.train_at_once(group, stack)
            except OWN_ERRORS as error:  # of the compiler, say, or of a GPU that is too small
                reason = str(error).strip().partition("\n")[0]
                warnings.warn(f"engine: one run after the other, since {reason}", stacklevel=2)
        for member in group:
            if not member.ended:
                self.train_alone(member, load)

    def train_alone(self, member: Member, load: Load) -> None:
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

    def train_at_once(self, group: list[Member], stack: int | None = None) -> None:
        """Train what is left of a group in one ensemble."""
        load, jobs = load_once(partial(load_on_device, load=self.load)), {}
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
            stack=stack,
        )

    def prepare(self, member: Member, config: RunConfig, load: Load) -> Job | Run | None:
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
