"""The trainer of a sweep's runs, which trains them together where that pays."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from pyro_vae.devices import broken
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

OWN_ERRORS = (FloatingPointError, ValueError, RuntimeError)  # of a run; OSErrors are of the disk


def pays_together(configs: Sequence[RunConfig], training_images: int, device: str = "cpu") -> bool:
    """Return whether runs have enough steps in sum to pay for compiling one batched step.

    The decision depends on the whole grid and not on the work that remains, so that a sweep resumes
    in the way in which it began.

    Args:
        configs: configurations that differ in beta, seed, learning rate or sigma only.
        training_images: the number of training images.
        device: the type of the device that will train them.
    """
    if len(configs) < 2:
        return False
    sizes = [c.batch_size or default_batch_size(training_images) for c in configs]
    steps = sum(c.epochs * (training_images // size) for c, size in zip(configs, sizes))
    return choose_engine(configs[0].engine, steps, device).name == "compiled"


class Unit(NamedTuple):
    """The runs of a group that one process trains: as many as fill a stack, or a single one."""

    members: list[Member]
    stack: int | None  # its places; None where a single run is trained


def units(group: list[Member], device: str, load: Load = load_data) -> list[Unit]:
    """Return the units of a group of runs, which different processes can train.

    A unit ends where a stack would end in a single process, so no result depends on the cuts where
    the stacks are of one size: on a GPU that goes by the memory that is free.

    Args:
        group: runs that differ in beta, seed, learning rate or sigma only.
        device: the type of the device that will train them.

    Raises:
        ValueError, OSError: data that do not exist, cannot be read, or do not fit.
    """
    first, data = group[0].config, load(group[0].config)
    if not pays_together([member.config for member in group], len(data.train), device):
        return [Unit([member], None) for member in group]
    model = build_model(first, data.image_shape, data.levels)
    size = stack_size(len(group), model, device)
    return [Unit(group[start : start + size], size) for start in range(0, len(group), size)]


class Trainer:
    """A trainer of a sweep's runs in this process, which marks those that fail."""

    def __init__(self, observer: SweepObserver, load: Load = load_data):
        self.observer, self.load = observer, load

    def device_type(self, name: str) -> str:
        """Return the type of the device that a name stands for on this machine.

        Raises:
            ValueError: CUDA where there is none.
        """
        return resolve_device(name).type

    def train(self, groups: list[list[Member]]) -> None:
        """Train the rest of each group of runs.

        Args:
            groups: runs that differ in beta, seed, learning rate or sigma only.
        """
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
        device = self.device_type(group[0].config.device)
        together = pays_together([member.config for member in group], num_images, device)
        self._train_members(group, together, load)

    def train_unit(self, unit: Unit) -> None:
        """Train the rest of a unit."""
        load = load_once(self.load, keep=False)
        self._train_members(unit.members, unit.stack is not None, load, unit.stack)

    def _train_members(
        self, group: list[Member], together: bool, load: Load, stack: int | None = None
    ) -> None:
        """Train runs together or, where that fails or does not pay, one by one."""
        if together:
            self._train_in_stacks(group, stack)
        for member in group:
            if not member.ended:
                self._train_alone(member, load)

    def _train_in_stacks(self, group: list[Member], stack: int | None) -> None:
        """Train runs in one batched step, in smaller stacks if the GPU is full; else leave them.

        Raises:
            OSError: the GPU failed.
        """
        try:
            self._train_together(group, stack)
        except torch.OutOfMemoryError:
            half = (stack or len(group)) // 2
            if half > 1:
                self.observer.notice(f"the GPU is full: on with stacks of {half} runs")
                torch.cuda.empty_cache()
                self._train_in_stacks(group, half)
        except torch.AcceleratorError as error:
            raise broken(error) from error
        except OWN_ERRORS as error:  # of the compiler
            reason = str(error).strip().partition("\n")[0]
            self.observer.notice(f"engine: one run after the other, since {reason}")

    def _train_alone(self, member: Member, load: Load) -> None:
        observer = MemberObserver(self.observer, member)
        start = self._locate(member, member.config, observer)
        if start is None:
            return
        job = None if start.finished else self._build(start, load, observer)
        try:
            if job:
                job.train(observer)
            elif start.finished:  # it stopped before its report was written
                write_report(member.path)
                observer.finished()
        except torch.AcceleratorError as error:
            raise broken(error) from error
        except OWN_ERRORS as error:
            observer.failed(error)

    def _train_together(self, group: list[Member], stack: int | None = None) -> None:
        """Train the rest of a group in one batched step."""
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
        """Return where the run begins or resumes; where that fails, mark the run and return None."""
        try:
            return locate(config, member.path, resume=True, lock=False)
        except (ValueError, OSError) as error:
            observer.failed(error)
            return None

    def _build(self, start: Start, load: Load, observer: MemberObserver) -> Job | None:
        """Return the job of the run; where that fails, mark the run and return None."""
        try:
            return build(start, start.load(load), observer)
        except (ValueError, OSError) as error:
            observer.failed(error)
            return None


def _placeholder(
    member: Member, config: RunConfig, load: Load, observer: MemberObserver
) -> Job | None:
    """Return a job that holds the place of a failed run in its stack, or None."""
    with suppress(ValueError, OSError):
        start = locate(config, member.path, overwrite=True, lock=False)
        return build(start, load(config), observer)
    return None
