"""`train`: trains a configuration into a run folder, after three steps: locate, load, build."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pyro

from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.data import Dataset
from pyro_vae.files import check_path_name, exists
from pyro_vae.names import is_path
from pyro_vae.runs.claim import check_free, check_resumable, check_sweep_unused, claim, free_folder
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.lock import FolderLock
from pyro_vae.runs.observer import Observer
from pyro_vae.runs.report import write_report
from pyro_vae.runs.run import (
    Run,
    build_model,
    cautions,
    load_data,
    load_data_again,
    load_run,
    resolve_device,
)
from pyro_vae.runs.writer import Onlooker, RunWriter
from pyro_vae.settings import TrainingSettings, by_name, default_batch_size
from pyro_vae.training.epochs import Splits
from pyro_vae.training.fit import make_training
from pyro_vae.training.loop import Stopped, Training
from pyro_vae.training.processes import ALONE, RankLost, Ranks

Load = Callable[[RunConfig], Dataset]


def train(
    config: RunConfig,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
    ranks: Ranks = ALONE,
) -> Run:
    """Train the model of a configuration and write a run folder.

    Args:
        config: all settings of the run.
        out: the folder, which must not exist yet (default: a new one under `runs/`).
        resume: whether to resume the run in `out` from its checkpoint. The result is exactly that
            of an uninterrupted run. Without a checkpoint the run starts from the beginning. A
            finished run is returned immediately.
        overwrite: whether to replace the run in `out`.
        observer: called at the events of the run; its `interrupts` can stop training.
        ranks: processes that train together (default: this process alone). Each of them calls
            `train` with the same arguments, as in `ranks=Ranks.launched()` under torchrun. The
            first one writes the folder.

    Raises:
        ValueError: a configuration that does not fit the data or the folder; nothing has been
            written in this case.
        FloatingPointError: training diverged; the last finite checkpoint stays.
        OSError: the folder cannot be written, or the data of a resumed run cannot be read.
        Interrupted: a signal came; the state has been saved.
        RankLost: another rank was lost; the last checkpoint stays.

    Example:
        >>> run = train(RunConfig(epochs=20), "runs/first")  # doctest: +SKIP
    """
    observer = observer or Observer()
    with ranks.joined(resolve_device(config.device, ranks.local)):
        with ranks.in_turn():  # data are downloaded once
            start = locate(config, out, resume, overwrite, lock=ranks.first)
            with start.released_on_error():
                if start.finished:
                    return _finished_run(start)
                data = start.load()
        with start.released_on_error():
            job = build(start, data, observer, ranks)
        return job.train(observer)


def _finished_run(start: "Start") -> Run:
    """Return a run that is measured already; its page is written again where it was deleted."""
    folder = start.known_folder
    if start.lock and not folder.report.exists():
        write_report(folder.path)
    start.release()
    return load_run(folder.path)


@dataclass(frozen=True)
class Start:
    """The place of a run and what it resumes from.

    `folder` is None if a new one is still to be chosen, `checkpoint` is None if the run begins with
    new weights. `lock` is held where the folder exists already; `covered` says that the lock of a
    sweep covers this run.
    """

    config: RunConfig
    folder: RunFolder | None
    lock: FolderLock | None = None
    checkpoint: dict | None = None
    finished: bool = False
    covered: bool = False

    @property
    def known_folder(self) -> RunFolder:
        """Return the folder of a run that resumes, which has one."""
        return cast(RunFolder, self.folder)

    def load(self, load: Load = load_data) -> Dataset:
        """Return the data set.

        Raises:
            ValueError: there are no such data, or they are unreadable.
            OSError: the data of a run that resumes cannot be read any more.
        """
        return load_data_again(self.config, load) if self.checkpoint else load(self.config)

    def release(self) -> None:
        """Release the folder."""
        if self.lock:
            self.lock.release()

    @contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Inside, an error releases the folder."""
        try:
            yield
        except BaseException:
            self.release()
            raise


def locate(
    config: RunConfig,
    out: str | Path | None,
    resume: bool = False,
    overwrite: bool = False,
    lock: bool = True,
) -> Start:
    """Return where a run begins or resumes; arguments as those of `train`.

    Nothing is written but the lock of a folder that exists.

    Args:
        lock: whether to lock the folder; one of a sweep is covered by the sweep's lock.

    Raises:
        ValueError: a folder that is taken, is no run folder, or holds other settings.
        FolderInUse: another process writes to the folder.
    """
    config = _with_whole_paths(config)
    if out is None:
        if resume or overwrite:
            raise ValueError(
                f"{'resume' if resume else 'overwrite'}: name the run folder with --out"
            )
        return Start(config, None)
    if resume and overwrite:
        raise ValueError("resume: resumes a run that --overwrite deletes; give one of the two")
    folder = RunFolder(out)
    check_free(folder, overwrite or resume)
    if not exists(folder.path):
        if lock:
            check_sweep_unused(folder)
        return Start(config, folder, covered=not lock)
    start = Start(config, folder, claim(folder) if lock else None, covered=not lock)
    with start.released_on_error():
        return _resumed(start) if resume and folder.last.exists() else start


def _with_whole_paths(config: RunConfig) -> RunConfig:
    """Return the settings with paths that hold wherever the run is resumed."""
    config = replace(config, data_dir=os.path.abspath(config.data_dir))
    if not is_path(config.dataset):
        return config
    check_path_name("dataset", config.dataset)
    return replace(config, dataset=os.path.abspath(config.dataset))


def _resumed(start: Start) -> Start:
    folder = start.known_folder
    config = check_resumable(folder, start.config)
    checkpoint = load_checkpoint(folder.last)
    finished = Run(folder.path, config).summary is not None
    return replace(start, config=config, checkpoint=checkpoint, finished=finished)


def build(start: Start, data: Dataset, observer: Observer, ranks: Ranks = ALONE) -> "Job":
    """Return the job to be done, with its model, and with the state of a run that resumes.

    Raises:
        ValueError: a configuration or a checkpoint that does not fit the data.
    """
    batch_size = start.config.batch_size or default_batch_size(len(data.train))
    config = replace(start.config, batch_size=batch_size)
    training = _training(config, data, observer, ranks)
    if start.checkpoint:
        training.restore(start.checkpoint)
    folder, lock = start.folder, start.lock
    if folder is None and ranks.first:
        folder = free_folder(config)
        lock = FolderLock(folder.path).acquire()
    folder = ranks.gather(folder)[0]  # and from here on the first rank may write
    return Job(folder, config, data, training, lock, start.covered, bool(start.checkpoint), ranks)


def _training(config: RunConfig, data: Dataset, observer: Observer, ranks: Ranks) -> Training:
    model = build_model(config, data.image_shape, data.levels)
    if data.levels is None and not model.likelihood.scores_grey:
        raise ValueError(
            f"levels: {config.likelihood} scores grey levels; name their number with --levels"
        )
    validation = data.validation if config.patience else None
    return make_training(
        model,
        Splits(data.train.images, data.test.images, validation and validation.images, data.dynamic),
        TrainingSettings(**by_name(config, TrainingSettings)),
        resolve_device(config.device, ranks.local),
        observer.should_stop,
        ranks,
    )


@dataclass(frozen=True)
class Job:
    """A training that is ready to begin or to resume; nothing has been written for it yet."""

    folder: RunFolder
    config: RunConfig
    data: Dataset
    training: Training
    lock: FolderLock | None
    covered: bool
    resumed: bool
    ranks: Ranks = ALONE

    def start(self) -> RunWriter | Onlooker:
        """Create the folder, or prepare that of a run that resumes; return the folder's writer.

        Raises:
            FolderInUse: another process has just created the folder.
            OSError: the folder cannot be written.
        """
        if not self.ranks.first:
            return Onlooker(self.folder)
        if self.resumed:
            self.folder.resume(self.config, self.training.epoch)
        else:
            self.folder.start(self.config)
        return RunWriter(self.folder, self.config, self.data, self.training)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process writes to the folder, which is created if it does not exist."""
        lock = self.lock
        if not self.ranks.first:
            pass  # the first rank creates the folder and locks it
        elif self.covered:
            self.folder.path.mkdir(parents=True, exist_ok=True)
        elif lock is None:
            lock = FolderLock(self.folder.path).create()
        try:
            yield
        finally:
            if lock:
                lock.release()

    def train(self, observer: Observer) -> Run:
        """Train to the end and return the run; errors as those of the function `train`."""
        try:
            with self.locked():
                self._train(self.start(), observer)
            self.ranks.gather()  # all is written
        except RankLost as error:
            raise RankLost(f"{error}; the last checkpoint stays: {self._again}") from error
        return load_run(self.folder.path)

    @property
    def _again(self) -> str:
        return f"pyro-vae train --resume --out {self.folder.path}"

    def _train(self, writer: RunWriter | Onlooker, observer: Observer) -> None:
        observer.started(self.folder, self.config, self.data, self.training)
        for caution in cautions(self.config, self.data, self.training.model):
            observer.notice(caution)
        with pyro.validation_enabled(False):  # images and weights are checked elsewhere
            self._take_epochs(writer, observer)
            if observer.interrupts:
                observer.interrupts.note = (
                    f"; training is done and saved, measuring resumes with: {self._again}"
                )
            writer.finish(observer.measuring)
        observer.finished()

    def _take_epochs(self, writer: RunWriter | Onlooker, observer: Observer) -> None:
        interrupts = observer.interrupts
        if self.ranks.count == 1:  # others wait for one that fails to prepare
            self.training.prepare()  # while signals end the work: there is nothing to save yet
        observer.prepared()
        patient = self.ranks.count > 1  # torchrun repeats a signal to all ranks
        with interrupts.deferred(patient) if interrupts else nullcontext():
            try:
                for record in self.training:
                    writer.add(record)
                    observer.epoch(record, self.training.finished)
            except Stopped:
                writer.save()
                if interrupts is None:  # the observer asked for it in another way
                    raise
                self.ranks.gather()  # torchrun ends all ranks as soon as one ends
                interrupts.pending = interrupts.pending or signal.SIGTERM  # sent to another rank
                interrupts.note = f" after step {self.training.step}; all is saved: {self._again}"
            except FloatingPointError as error:
                raise writer.failure(error) from error
