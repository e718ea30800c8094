"""The trainer of a sweep's runs, which trains them together where that pays."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from pyro_vae.data.mapped import MappedImages
from pyro_vae.devices import broken, resolve_device
from pyro_vae.models.vae import VAE
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.data import load_data
from pyro_vae.runs.lock import FolderInUse, FolderLock
from pyro_vae.runs.report import write_report
from pyro_vae.runs.run import Run, build_model
from pyro_vae.runs.train import Job, Load, locate
from pyro_vae.settings import default_batch_size
from pyro_vae.sweeps.grid import common_settings
from pyro_vae.sweeps.observer import MemberObserver, SweepObserver, fail
from pyro_vae.sweeps.together import load_on_device, load_once, train_together
from pyro_vae.training.engines import choose_engine
from pyro_vae.training.ensembles import Programs, stack_size
from pyro_vae.training.step import numbers_compiled

MOST_LOCKED = 512  # runs of a unit: the lock of each is an open file
OWN_ERRORS = (FloatingPointError, ValueError, RuntimeError)  # of a run; OSErrors are of the disk


def pays_together(
    configs: Sequence[RunConfig], model: VAE, training_images: int, device: str = "cpu"
) -> bool:
    """Return whether runs have enough steps in sum to pay for compiling one batched step.

    The decision depends on the whole grid and not on the work that remains, so that a sweep resumes
    in the way in which it began.

    Args:
        configs: of runs as in `units`.
        model: the model of one of them.
    """
    if len(configs) < 2:
        return False
    sizes = [c.batch_size or default_batch_size(training_images) for c in configs]
    steps = sum(c.epochs * (training_images // size) for c, size in zip(configs, sizes))
    scored = numbers_compiled(model, sizes[0] * configs[0].num_particles)
    return choose_engine(configs[0].engine, steps, device, scored).name == "compiled"


class Unit(NamedTuple):
    """Runs that one process trains: in one batched step with so many places, or one by one."""

    runs: list[Run]
    places: int | None = None


def units(group: list[Run], device: str, load: Load = load_data) -> list[Unit]:
    """Return the units of a group of runs, unless all have ended.

    Each of them can be trained by another process. A unit ends where a stack does, so that no result
    depends on the number of processes, where the stacks are of one size: on a GPU that goes by the
    memory that is free.

    Args:
        group: runs that differ in beta, seed, learning rate or sigma only.
        device: the type of the device that will train them.
        load: what loads the data of settings.
    """
    if all(run.reread().ended for run in group):
        return []
    alone = [Unit([run]) for run in group]
    first = group[0].config
    try:
        data = load(first)
        model = build_model(first, data.image_shape, data.levels)
        pays = pays_together([run.config for run in group], model, len(data.train), device)
        if not pays or isinstance(data.train.images, MappedImages):
            return alone
    except (ValueError, OSError):  # for which each run will fail
        return alone
    size = min(stack_size(len(group), model, device), MOST_LOCKED)
    return [Unit(group[start : start + size], size) for start in range(0, len(group), size)]


class Trainer:
    """A trainer of a sweep's runs, which marks those that fail.

    Other processes may train the same sweep. Each of them locks the folders of the runs that it
    trains, passes over units that it finds locked, and reads the state of a run when it has the lock.
    """

    def __init__(self, observer: SweepObserver):
        self.observer = observer
        self.group: RunConfig | None = None  # what all runs of the present group have in common
        self.programs: Programs = {}  # its compiled steps
        self.open: set[Run] = set()  # runs that have not ended, as far as the observer knows

    def train(self, groups: list[list[Run]]) -> None:
        """Train the rest of each group, and return when other processes have all that is left.

        Args:
            groups: runs as in `units`.
        """
        self.open = {run for group in groups for run in group if not run.reread().ended}
        passed = []
        for group in groups:
            load, device = load_once(load_data), resolve_device(group[0].config.device).type
            passed += [u for u in units(group, device, load) if not self.train_unit(u, load)]
        before = None
        while passed and passed != before:  # their processes may have been killed
            before, passed = passed, [u for u in passed if not self.train_unit(u)]

    def train_unit(self, unit: Unit, load: Load = load_data) -> bool:
        """Train the rest of a unit, and return whether all its runs have ended.

        Runs with places are trained together or, where that fails, one by one.
        """
        with ExitStack() as claims:
            claimed = self._claim(unit, claims)
            self._tell_of_ended(unit.runs)
            if claimed:
                self._train_claimed(unit, load_once(load))
                self.open.difference_update(unit.runs)
        return claimed

    def _claim(self, unit: Unit, claims: ExitStack) -> bool:
        """Lock the folders of runs that have not ended, and return whether no other process has one."""
        try:
            for run in unit.runs:
                if not run.reread().ended:
                    run.folder.mkdir(exist_ok=True)
                    claims.enter_context(FolderLock(run.folder).acquire())
        except FolderInUse as error:
            self.observer.notice_once(f"sweep: {error.holder} has runs of this sweep")
            return False
        return True

    def _tell_of_ended(self, runs: list[Run]) -> None:
        """Tell the observer of runs that other processes have ended."""
        for run in runs:
            if run in self.open and run.reread().ended:
                self.open.discard(run)
                self.observer.ended(run.reread())

    def _train_claimed(self, unit: Unit, load: Load) -> None:
        now = [run.reread() for run in unit.runs]
        left = [run for run in now if run.failed or not run.finished]
        if unit.places and not all(run.failed for run in left):
            self._train_in_stacks(left, unit.places - len(now) + len(left), load)
        for run in now:
            if not run.reread().ended:
                self._train_alone(run, load)

    def _train_in_stacks(self, runs: list[Run], places: int, load: Load) -> None:
        """Train runs in one batched step, in smaller stacks if the GPU is full; else leave them."""
        try:
            self._train_together(runs, places, load)
        except torch.OutOfMemoryError:
            half = places // 2
            if half > 1:
                self.observer.notice(f"the GPU is full: on with stacks of {half} runs")
                torch.cuda.empty_cache()
                self._train_in_stacks(runs, half, load)
        except torch.AcceleratorError as error:
            raise broken(error) from error
        except OWN_ERRORS as error:  # of the compiler
            reason = str(error).strip().partition("\n")[0]
            self.observer.notice(f"engine: one run after the other, since {reason}")

    def _train_together(self, runs: list[Run], places: int, load: Load) -> None:
        """Train runs in one batched step, in which those that have failed hold their places."""
        load = load_once(partial(load_on_device, load=load))
        jobs, idle = [], []
        for run in runs:
            job = self._prepared(run, replace(run.config, engine="compiled"), load)
            if job and not job.finished:
                jobs.append(job)
                idle += [job] if run.failed else []
        if common_settings(runs[0].config) != self.group:
            self.group, self.programs = common_settings(runs[0].config), {}
        train_together(jobs, idle=idle, stack=places, programs=self.programs)

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
