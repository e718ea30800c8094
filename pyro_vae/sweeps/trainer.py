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
from pyro_vae.sweeps.observer import MemberObserver, SweepObserver, fail
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
    """Runs of a group that one process trains: together in stacks, or one by one.

    `stack` is the number of places in a stack (default: as the memory allows).
    """

    runs: list[Run]
    together: bool = False
    stack: int | None = None

    @property
    def ended(self) -> bool:
        """Return whether all its runs are finished or have failed."""
        return all(run.reread().ended for run in self.runs)


def units(
    group: list[Run],
    device: str,
    observer: SweepObserver,
    load: Load = load_data,
    cut: bool = False,
) -> list[Unit]:
    """Return the units of a group of runs that are left to train.

    Where the data do not exist or cannot be read, the runs fail, and there is none.

    Args:
        group: runs that differ in beta, seed, learning rate or sigma only.
        device: the type of the device that will train them.
        observer: called for runs that fail.
        load: what loads the data of settings.
        cut: whether different processes can train the units. One then ends where a stack would end
            in a single process, so no result depends on the cuts where the stacks are of one size:
            on a GPU that goes by the memory that is free.
    """
    if Unit(group).ended:
        return []
    first = group[0].config
    try:
        data = load(first)
        together = pays_together([run.config for run in group], len(data.train), device)
        found = [Unit(group, together)]
        if not together:
            found = [Unit([run]) for run in group]
        elif cut:
            model = build_model(first, data.image_shape, data.levels)
            size = stack_size(len(group), model, device)
            starts = range(0, len(group), size)
            found = [Unit(group[start : start + size], True, size) for start in starts]
    except (ValueError, OSError) as error:
        for run in group:
            if not run.reread().ended:
                fail(run, error, observer)
        return []
    return [unit for unit in found if not unit.ended]


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
            load, device = load_once(load_data), self.device_type(group[0].config.device)
            for unit in units(group, device, self.observer, load):
                self.train_unit(unit, load)

    def train_unit(self, unit: Unit, load: Load = load_data) -> None:
        """Train the rest of a unit: together or, where that fails or does not pay, one by one."""
        if unit.together:
            self._train_in_stacks(unit.runs, unit.stack)
        load = load_once(load)
        for run in unit.runs:
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

    def _train_together(self, group: list[Run], stack: int | None) -> None:
        """Train the rest of a group in one batched step; runs that have failed hold their places."""
        load = load_once(load_on_device)
        jobs, idle = [], []
        for run in map(Run.reread, group):
            if run.finished and not run.failed:
                continue
            job = self._prepared(run, replace(run.config, engine="compiled"), load)
            if job and not job.finished:
                jobs.append(job)
                idle += [job] if run.failed else []
        train_together(jobs, idle=idle, stack=stack)

    def _train_alone(self, run: Run, load: Load) -> None:
        job = self._prepared(run, run.config, load)
        if job is None:
            return
        try:
            if job.finished:  # but its report was deleted
                write_report(job.run)
                self.observer.ended(run.reread())
            else:
                job.train()
        except torch.AcceleratorError as error:
            raise broken(error) from error
        except OWN_ERRORS as error:
            fail(run, error, self.observer)

    def _prepared(self, run: Run, config: RunConfig, load: Load) -> Job | None:
        """Return the job of a run, which is built unless it is finished; None if the run fails.

        The job of a run that has failed begins anew: it only holds a place in a stack.
        """
        failed = bool(run.failed)
        try:
            job = locate(config, run.folder, resume=not failed, overwrite=failed, lock=False)
            if not job.finished:
                job.build(job.load(load), MemberObserver(self.observer, run))
        except (ValueError, OSError) as error:
            if not failed:
                fail(run, error, self.observer)
            return None
        return job
