"""The trainer of a sweep's runs, which trains them together where that pays."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from pyro_vae.devices import broken, resolve_device
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.data import load_data
from pyro_vae.runs.report import write_report
from pyro_vae.runs.run import Run, build_model
from pyro_vae.runs.train import Job, Load, locate
from pyro_vae.settings import default_batch_size
from pyro_vae.sweeps.observer import MemberObserver, SweepObserver
from pyro_vae.sweeps.together import load_on_device, load_once, train_together
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

    runs: list[Run]
    stack: int | None  # its places; None where a single run is trained

    @property
    def ended(self) -> bool:
        """Return whether all its runs are finished or have failed."""
        return all(run.reread().ended for run in self.runs)


def units(group: list[Run], device: str) -> list[Unit]:
    """Return the units of a group of runs, which different processes can train.

    A unit ends where a stack would end in a single process, so no result depends on the cuts where
    the stacks are of one size: on a GPU that goes by the memory that is free.

    Args:
        group: runs that differ in beta, seed, learning rate or sigma only.
        device: the type of the device that will train them.

    Raises:
        ValueError, OSError: data that do not exist, cannot be read, or do not fit.
    """
    first, data = group[0].config, load_data(group[0].config)
    if not pays_together([run.config for run in group], len(data.train), device):
        return [Unit([run], None) for run in group]
    model = build_model(first, data.image_shape, data.levels)
    size = stack_size(len(group), model, device)
    return [Unit(group[start : start + size], size) for start in range(0, len(group), size)]


class Trainer:
    """A trainer of a sweep's runs in this process, which marks those that fail."""

    def __init__(self, observer: SweepObserver):
        self.observer = observer

    def device_type(self, name: str) -> str:
        """Return the type of the device that a name stands for on this machine.

        Raises:
            ValueError: CUDA where there is none.
        """
        return resolve_device(name).type

    def train(self, groups: list[list[Run]]) -> None:
        """Train the rest of each group of runs.

        Args:
            groups: runs that differ in beta, seed, learning rate or sigma only.
        """
        for group in groups:
            if Unit(group, None).ended:
                continue
            load = load_once(load_data)
            try:
                num_images = len(load(group[0].config).train)
            except (ValueError, OSError) as error:
                self._fail(group, error)
                continue
            device = self.device_type(group[0].config.device)
            together = pays_together([run.config for run in group], num_images, device)
            self._train_runs(group, together, load)

    def _fail(self, group: list[Run], error: Exception) -> None:
        for run in group:
            if not run.reread().ended:
                MemberObserver(self.observer, run).failed(error)

    def train_unit(self, unit: Unit) -> None:
        """Train the rest of a unit."""
        together = unit.stack is not None
        self._train_runs(unit.runs, together, load_once(load_data), unit.stack)

    def _train_runs(
        self, group: list[Run], together: bool, load: Load, stack: int | None = None
    ) -> None:
        """Train runs together or, where that fails or does not pay, one by one."""
        if together:
            self._train_in_stacks(group, stack)
        for run in group:
            if not run.reread().ended:
                self._train_alone(run, load)

    def _train_in_stacks(self, group: list[Run], stack: int | None) -> None:
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

    def _train_alone(self, run: Run, load: Load) -> None:
        observer = MemberObserver(self.observer, run)
        try:
            job = _prepared(run, run.config, load, observer)
        except (ValueError, OSError) as error:
            observer.failed(error)
            return
        try:
            if job.finished:  # but its report was deleted
                write_report(job.run)
                observer.finished()
            else:
                job.train()
        except torch.AcceleratorError as error:
            raise broken(error) from error
        except OWN_ERRORS as error:
            observer.failed(error)

    def _train_together(self, group: list[Run], stack: int | None = None) -> None:
        """Train the rest of a group in one batched step."""
        load = load_once(load_on_device)
        jobs, idle = [], []
        for run in map(Run.reread, group):
            if run.finished and not run.failed:
                continue
            observer = MemberObserver(self.observer, run)
            config = replace(run.config, engine="compiled")
            try:
                job = _prepared(run, config, load, observer)
            except (ValueError, OSError) as error:
                if not run.failed:
                    observer.failed(error)
                continue
            if job.finished:
                continue
            jobs.append(job)
            if run.failed:
                idle.append(job)
        train_together(jobs, idle=idle, stack=stack)


def _prepared(run: Run, config: RunConfig, load: Load, observer: MemberObserver) -> Job:
    """Return the job of a run, which is built unless it is finished.

    The job of a run that has failed begins anew: it only holds a place in a stack.

    Raises:
        ValueError, OSError: settings, data or a checkpoint that cannot be read or do not fit.
    """
    failed = bool(run.failed)
    job = locate(config, run.folder, resume=not failed, overwrite=failed, lock=False)
    if not job.finished:
        job.build(job.load(load), observer)
    return job
