"""Training the runs of a sweep: those of the same architecture together, others one by one."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.report import write_report
from pyro_vae.runs.run import build_model, load_data, resolve_device
from pyro_vae.runs.train import Job, Load, Start, build, locate
from pyro_vae.settings import default_batch_size
from pyro_vae.sweeps.folder import Member
from pyro_vae.sweeps.observer import MemberObserver, SweepObserver
from pyro_vae.sweeps.together import load_on_device, load_once, train_jobs
from pyro_vae.training.engines import choose_engine
from pyro_vae.training.ensembles import stack_size

OWN_ERRORS = (FloatingPointError, ValueError, RuntimeError)  # of a run; OSErrors are the disk's


def pays_together(configs: Sequence[RunConfig], training_images: int) -> bool:
    """Return whether alike runs of a sweep have enough steps in sum to compile one batched step.

    The decision depends on what the grid asks for, and not on what is left to do, so that a sweep
    is resumed in the way in which it began.
    """
    if len(configs) < 2:
        return False
    sizes = [c.batch_size or default_batch_size(training_images) for c in configs]
    steps = sum(c.epochs * (training_images // size) for c, size in zip(configs, sizes))
    return choose_engine(configs[0].engine, steps).name == "compiled"


class Unit(NamedTuple):
    """Runs of a group that one process trains: as many as fill a stack, or a single one."""

    members: list[Member]
    stack: int | None  # its places; None where the run is trained by itself


def units(group: list[Member], device: str, load: Load = load_data) -> list[Unit]:
    """Return a group of alike runs in units that different processes can train.

    They are cut where the stacks of one process end, so that no result depends on the cut.

    Args:
        device: the type of that on which they will be trained.

    Raises:
        ValueError, OSError: there are no such data, or they do not fit.
    """
    first, data = group[0].config, load(group[0].config)
    if not pays_together([member.config for member in group], len(data.train)):
        return [Unit([member], None) for member in group]
    model = build_model(first, data.image_shape, data.levels)
    size = stack_size(len(group), model, device)
    return [Unit(group[start : start + size], size) for start in range(0, len(group), size)]


class Trainer:
    """Trains the runs of a sweep, group by group, and marks those that fail."""

    def __init__(self, observer: SweepObserver, load: Load = load_data):
        self.observer, self.load = observer, load

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
            num_images = len(load(group[0].config).train)
        except (ValueError, OSError) as error:
            for member in group:
                if not member.ended:
                    MemberObserver(self.observer, member).failed(error)
            return
        together = pays_together([member.config for member in group], num_images)
        self._train_members(group, together, load)

    def train_unit(self, unit: Unit) -> None:
        """Train what is left of a part of a group."""
        load = load_once(self.load, keep=False)
        self._train_members(unit.members, unit.stack is not None, load, unit.stack)

    def _train_members(
        self, group: list[Member], together: bool, load: Load, stack: int | None = None
    ) -> None:
        """Train alike runs together or, where that fails or is not wanted, one by one."""
        if together:
            try:
                self._train_together(group, stack)
            except OWN_ERRORS as error:  # of the compiler, say, or of a GPU that is too small
                reason = str(error).strip().partition("\n")[0]
                self.observer.notice(f"engine: one run after the other, since {reason}")
        for member in group:
            if not member.ended:
                self._train_alone(member, load)

    def _train_alone(self, member: Member, load: Load) -> None:
        observer = MemberObserver(self.observer, member)
        start = self._locate(member, member.config, observer)
        if start is None:
            return
        job = None if start.finished else self._build(start, load, observer)
        try:
            if job:
                job.train(observer)
            elif start.finished:  # it was stopped when all but the report was there
                write_report(member.path)
                observer.finished()
        except OWN_ERRORS as error:
            observer.failed(error)

    def _train_together(self, group: list[Member], stack: int | None = None) -> None:
        """Train what is left of a group in one batched step."""
        load, jobs = load_once(partial(load_on_device, load=self.load)), {}
        for member in group:
            if member.ended and not member.failed:
                continue
            observer = MemberObserver(self.observer, member)
            config = replace(member.config, engine="compiled")
            if not member.failed:
                start = self._locate(member, config, observer)
                job = self._build(start, load, observer) if start and not start.finished else None
            if member.failed:
                job = _placeholder(member, config, load, observer)
            if job:
                jobs[observer] = job
        idle = [observer for observer in jobs if observer.member.failed]
        train_jobs(jobs, idle=idle, stack=stack)

    def _locate(self, member: Member, config: RunConfig, observer: MemberObserver) -> Start | None:
        """Return where the run begins or resumes; None where it fails in that, and is marked."""
        try:
            return locate(config, member.path, resume=True)
        except (ValueError, OSError) as error:
            observer.failed(error)

    def _build(self, start: Start, load: Load, observer: MemberObserver) -> Job | None:
        """Return the job of the run; None where it fails in that, and is marked."""
        try:
            return build(start, start.load(load), observer)
        except (ValueError, OSError) as error:
            observer.failed(error)


def _placeholder(
    member: Member, config: RunConfig, load: Load, observer: MemberObserver
) -> Job | None:
    """Return a job that holds the place of a failed run in its stack, where one can be built."""
    with suppress(ValueError, OSError):
        start = locate(config, member.path, overwrite=True)
        return build(start, load(config), observer)
