"""Sweeps on a Ray cluster: its workers train, and this process watches the run folders."""

import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from pyro_vae.devices import one_thread
from pyro_vae.notices import Notice
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.lock import SWEEP_FILE, FolderLock
from pyro_vae.runs.metrics import GrowingTable
from pyro_vae.runs.run import Run
from pyro_vae.sweeps.cluster import StartedCluster, connection
from pyro_vae.sweeps.observer import SweepObserver, fail
from pyro_vae.sweeps.trainer import Trainer, Unit, units
from pyro_vae.training.epochs import Record

LOSSES = 3  # of workers in a row, without an epoch between, after which runs fail
LOOK_EVERY = 0.5  # seconds
WAIT = 60  # seconds, at most, for tasks to stop and for a shared file system to show their files


@contextmanager
def on_cluster(
    address: str, observer: SweepObserver, gpu_share: float = 1.0
) -> Iterator["ClusterTrainer"]:
    """Provide a trainer on a Ray cluster inside the block.

    Args:
        address: the cluster's address as `ray.init` takes it, or `local` to start a cluster here.
            It is ignored if this process is connected to a cluster already.
        gpu_share: the part of a GPU that a worker takes, in (0, 1].

    Raises:
        ValueError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("ray: Ray is missing; pip install 'pyro_vae[cluster]'") from error
    with nullcontext() if ray.is_initialized() else connection(ray, address) as started:
        yield ClusterTrainer(ray, observer, gpu_share, started)


def _train(unit: Unit, sweep: Path) -> list[str]:
    """Train the rest of the unit as a worker's task, and return the warnings."""
    if not sweep.exists():
        raise OSError(
            f"out: {sweep} is not there on {socket.gethostname()}; the sweep's folder must lie on a"
            " file system that all machines of the cluster share"
        )

    unit.runs[0].folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(unit.runs[0].folder) as lock:  # a lost worker may still be alive
        lock.acquire(WAIT)
        with Interrupts() as interrupts, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", Notice)
            with interrupts.deferred():  # half an import would be left for the worker's next task
                import torch._dynamo  # noqa: F401
            with one_thread():  # it has one CPU, and more would wait for those of other workers
                Trainer(SweepObserver(interrupts)).train_unit(unit)
    return [str(warning.message) for warning in caught if warning.category is Notice]


def _anywhere(run: Run) -> Run:
    """Return the run with paths that hold in the working folder of any worker."""
    config = replace(run.config, data_dir=os.path.abspath(run.config.data_dir))
    return Run(run.folder.resolve(), config)


class ClusterTrainer:
    """A trainer of a sweep's runs on the workers of a Ray cluster, each with one CPU or GPU.

    It reads the state of each run in the run's folder, so a worker may be lost at any time.
    """

    def __init__(
        self,
        ray: ModuleType,
        observer: SweepObserver,
        gpu_share: float = 1.0,
        started: StartedCluster | None = None,
    ):
        self.started = started
        self.ray, self.observer, self.interrupts = ray, observer, observer.interrupts
        needs = {"num_cpus": 1, "max_retries": 0}  # lost tasks are submitted again here
        self.on_cpu = ray.remote(**needs)(_train)
        self.on_gpu = ray.remote(**needs, num_gpus=gpu_share, max_calls=1)(_train)  # frees memory
        self.gpus = ray.cluster_resources().get("GPU", 0)

    def device_type(self, name: str) -> str:
        """Return the type of the device that a name stands for on the cluster.

        Raises:
            ValueError: CUDA on a cluster without a GPU.
        """
        if name == "cuda" and not self.gpus:
            raise ValueError(
                "device: cuda asked for, but the Ray cluster has no GPU; use cpu or auto"
            )
        return "cuda" if self.gpus and name != "cpu" else "cpu"

    def train(self, groups: list[list[Run]]) -> None:
        """Train the rest of each group of runs, on as many workers as it fills.

        Args:
            groups: runs that differ in beta, seed, learning rate or sigma only.

        Raises:
            OSError: a folder cannot be written.
            Interrupted: a signal came; the workers have saved the state.
        """
        running: dict[object, _Watched] = {}
        try:
            for group in groups:
                device = self.device_type(group[0].config.device)
                for unit in units(group, device, self.observer, cut=True):
                    running[self._submit(unit)] = _Watched(unit, self.observer)
            with self.interrupts.deferred():
                self._follow(running)
        finally:
            self._stop(running)

    def _submit(self, unit: Unit) -> object:
        """Submit the unit to the next free worker, and return the task."""
        on_gpu = self.device_type(unit.runs[0].config.device) == "cuda"
        runs = [_anywhere(run) for run in unit.runs]
        sweep = runs[0].folder.parent / SWEEP_FILE
        task = self.on_gpu if on_gpu else self.on_cpu
        return task.remote(unit._replace(runs=runs), sweep)

    def _follow(self, running: dict[object, "_Watched"]) -> None:
        """Watch the tasks until all are done or a signal comes."""
        while running and not self.interrupts.pending:
            if self.started:
                self.started.look()
            done, _ = self.ray.wait(list(running), timeout=LOOK_EVERY)
            for watched in running.values():
                watched.look()
            for ref in done:
                watched = running.pop(ref)
                if not self._is_done(ref, watched):
                    running[self._submit(watched.unit)] = watched

    def _is_done(self, ref: object, watched: "_Watched") -> bool:
        """Return whether a task that has ended need not be submitted again."""
        errors = self.ray.exceptions
        try:
            for message in self.ray.get(ref):
                self.observer.notice(message)
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayError as error:  # the worker was killed, or its machine is lost
            return watched.lost_too_often(type(error).__name__)
        watched.settle()
        return True

    def _stop(self, running: dict[object, "_Watched"]) -> None:
        """Let the tasks end after their current steps, and wait until they have saved everything."""
        if self.started and not self.started.alive:
            return
        for ref in running:
            self.ray.cancel(ref)  # a worker that trains receives it as Ctrl-C
        if running:
            self.ray.wait(list(running), num_returns=len(running), timeout=WAIT)


class _Watched:
    """A unit that a worker trains, watched through its run folders.

    Args:
        observer: called at new events of the unit's runs.
    """

    def __init__(self, unit: Unit, observer: SweepObserver):
        self.unit, self.observer = unit, observer
        self.tables = {run: GrowingTable(run.metrics_file) for run in unit.runs}
        self.epochs = {  # the last reported one of each run that has not ended
            run: max((record.epoch for record in self._records(run, True)), default=0)
            for run in unit.runs
            if not run.reread().ended
        }
        self.losses, self.at_loss = 0, dict(self.epochs)

    def look(self) -> None:
        """Report new epochs and runs that have ended."""
        for run in list(self.epochs):
            now = run.reread()
            records = self._records(run, now.ended)
            for record in records:
                if record.epoch > self.epochs[run]:
                    self.epochs[run] = record.epoch
                    last = now.ended and not now.failed and record is records[-1]
                    self.observer.epoch(run.name, record, last)
            if now.ended:
                del self.epochs[run]
                self.observer.ended(now)

    def _records(self, run: Run, ended: bool) -> list[Record]:
        """Return the new records in the run's folder, but for the newest unless it has ended."""
        try:
            return self.tables[run].records(ended)
        except (OSError, ValueError):  # it does not exist yet, or is being written
            return []

    def settle(self) -> None:
        """Report events until all runs have ended.

        The files of other machines may take a while to appear on this one.

        Raises:
            OSError: files that do not appear.
        """
        until = time.monotonic() + WAIT
        self.look()
        while self.epochs:
            if time.monotonic() > until:
                path = next(iter(self.epochs)).folder
                raise OSError(f"out: {path} is complete for a worker, but not for this machine")
            time.sleep(LOOK_EVERY)
            self.look()

    def lost_too_often(self, how: str) -> bool:
        """Count a lost worker, and return whether the unit need not be submitted again.

        That is so if all its runs have ended, or if too many workers were lost and its runs failed.
        """
        self.look()
        self.losses = self.losses + 1 if self.epochs == self.at_loss else 1
        self.at_loss = dict(self.epochs)
        if self.losses < LOSSES:
            return not self.epochs
        error = RuntimeError(f"its worker was lost {LOSSES} times in a row ({how})")
        for run in self.epochs:
            fail(run, error, self.observer)
        return True
