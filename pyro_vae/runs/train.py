"""`train`: trains a configuration into a run folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyro

from pyro_vae.data import Dataset
from pyro_vae.devices import resolve_device
from pyro_vae.files import check_path_name, exists, replace_file
from pyro_vae.names import command, is_path
from pyro_vae.own_parts import OWN, whole_path
from pyro_vae.randomness import one_at_a_time
from pyro_vae.runs.config import RunConfig, check_free
from pyro_vae.runs.data import load_data, load_data_again, splits_of
from pyro_vae.runs.lock import FolderLock, check_sweep_unused
from pyro_vae.runs.observer import Observer, failures_told
from pyro_vae.runs.report import write_report
from pyro_vae.runs.resume import (
    free_folder,
    resume_folder,
    settings_to_resume,
    start_folder,
)
from pyro_vae.runs.run import Run, build_model, cautions, load_run, take_weights
from pyro_vae.runs.writer import RunWriter
from pyro_vae.settings import TrainingSettings, by_name, default_batch_size
from pyro_vae.training.epochs import Record
from pyro_vae.training.fit import make_training
from pyro_vae.training.loop import Stopped, Training

Load = Callable[[RunConfig], Dataset]


@one_at_a_time()
def train(
    config: RunConfig,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
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

    Raises:
        ValueError: a configuration that does not fit the data or the folder; nothing has been
            written in this case.
        FloatingPointError: training diverged; the last finite checkpoint stays.
        OSError: the folder cannot be written, or the data of a resumed run cannot be read.
        Interrupted: a signal came; the state has been saved.

    Example:
        >>> run = train(RunConfig(epochs=20), "runs/first")  # doctest: +SKIP
    """
    observer = observer or Observer()
    job = locate(config, out, resume, overwrite)
    try:
        if job.finished:
            if not job.run.report.exists():
                write_report(job.run)
            return load_run(job.run.folder)
        job.build(job.load(), observer)
        with failures_told([observer]):
            job.train()
        return load_run(job.run.folder)
    finally:
        job.release()


@dataclass(eq=False)
class Job:
    """A run that is about to begin or to resume.

    Nothing is written before `claim`, so that all that does not fit is found first. The order is:
    `locate`, `load`, `build`, `train`.

    Args:
        run: its folder and its settings.
        unnamed: whether a new folder is still to be chosen.
        covered: whether the caller holds the folder's lock.
        lock: that of a folder that exists already.
        resumes: whether it resumes from a checkpoint.
    """

    run: Run
    unnamed: bool = False
    covered: bool = False
    lock: FolderLock | None = None
    resumes: bool = False
    observer: Observer = field(default_factory=Observer)
    data: Dataset = field(init=False)
    training: Training = field(init=False)
    writer: RunWriter = field(init=False)  # from `begin` on

    @property
    def finished(self) -> bool:
        """Return whether nothing is left to be trained or measured."""
        return self.resumes and self.run.summary is not None

    @property
    def again(self) -> str:
        """Return the command that resumes the run."""
        return command("train", "--resume", "--out", self.run.folder)

    def load(self, load: Load = load_data) -> Dataset:
        """Return the data set.

        Raises:
            ValueError: there are no such data, or they are unreadable.
            OSError: the data of a run that resumes cannot be read any more, or hold other images.
        """
        return load_data_again(self.run, load=load) if self.resumes else load(self.run.config)

    def build(self, data: Dataset, observer: Observer) -> None:
        """Build the model, with the state of a run that resumes.

        Raises:
            ValueError: a configuration or a checkpoint that does not fit the data.
        """
        batch_size = self.run.config.batch_size or default_batch_size(len(data.train))
        config = replace(self.run.config, batch_size=batch_size)
        self.data, self.observer = data, observer
        state = self.run.checkpoint(self.run.last) if self.resumes else None
        self.training = _untrained(config, data, observer, begins=state is None)
        if state is not None:
            try:
                self.training.restore(state)
            except ValueError as error:
                raise ValueError(f"{error}, in {self.run.last}") from error
        folder = self.run.folder
        if self.unnamed:
            folder = free_folder(config)
            self.lock = FolderLock(folder).acquire()
        self.run = Run(folder, config)

    def claim(self) -> None:
        """Create the folder if it does not exist, and lock it.

        Raises:
            FolderInUse: another process has just created the folder.
            OSError: the folder cannot be written.
        """
        if self.covered:
            self.run.folder.mkdir(parents=True, exist_ok=True)
        elif self.lock is None:
            self.lock = FolderLock(self.run.folder).create()

    def release(self) -> None:
        """Release the folder."""
        if self.lock:
            self.lock.release()

    def begin(self) -> None:
        """Write the settings, and tell the observer that the run begins or resumes, and what of it."""
        if self.resumes:
            resume_folder(self.run, self.training.epoch)
        else:
            start_folder(self.run)
            replace_file(self.run.images_file, f"{self.data.fingerprint}\n")
            if parts := self.run.config.parts_text():
                replace_file(self.run.parts_file, parts)
        self.writer = RunWriter(self.run, self.data, self.training)
        self.observer.started(self.run.folder, self.run.config, self.data, self.training)
        for caution in cautions(self.run.config, self.data, self.training.model):
            self.observer.notice(caution)

    def train(self) -> None:
        """Train to the end, measure, and write the results; errors as those of the function."""
        training, observer, interrupts = self.training, self.observer, self.observer.interrupts
        self.claim()
        self.begin()
        with pyro.validation_enabled(False):  # images and weights are checked elsewhere
            training.prepare()  # while signals end the work: there is nothing to save yet
            observer.prepared()
            with interrupts.deferred():
                try:
                    for record in training:
                        self.add(record)
                except Stopped:
                    self.writer.save()
                    if interrupts.pending is None:  # the observer asked for it in another way
                        raise
                    interrupts.note = f" after step {training.step}; all is saved: {self.again}"
                except FloatingPointError as error:
                    raise self.failure(error) from error
            interrupts.note = f"; training is done and saved, measuring resumes with: {self.again}"
            self.finish()

    def add(self, record: Record) -> None:
        """Write the record of an epoch, and tell the observer of it."""
        self.writer.add(record)
        self.observer.epoch(record, self.training.finished)

    def finish(self) -> None:
        """Measure the trained model, write the results, and tell the observer."""
        self.writer.finish(self.observer.measuring)
        self.observer.finished()

    def failure(self, error: FloatingPointError) -> FloatingPointError:
        """Return the error of a training that diverged, with its last finite checkpoint."""
        kept = self.run.last if self.run.last.exists() else "none yet"
        return FloatingPointError(f"{error}; last finite checkpoint: {kept}")


def _untrained(config: RunConfig, data: Dataset, observer: Observer, begins: bool) -> Training:
    model = build_model(config, data.image_shape, data.levels)
    if begins and config.init_from:
        take_weights(model, config.init_from)
    if data.levels is None and not model.likelihood.scores_grey:
        raise ValueError(
            f"levels: {config.likelihood} scores grey levels; name their number with --levels"
        )
    return make_training(
        model,
        splits_of(model, data, config.patience is not None),
        TrainingSettings(**by_name(config, TrainingSettings)),
        resolve_device(config.device),
        observer.should_stop,
    )


def locate(
    config: RunConfig,
    out: str | Path | None,
    resume: bool = False,
    overwrite: bool = False,
    lock: bool = True,
) -> Job:
    """Return the job of a run that begins or resumes; arguments as those of `train`.

    Nothing is written but the lock of a folder that exists.

    Args:
        lock: whether to lock the folder; false if the caller holds its lock.

    Raises:
        ValueError: a folder that is taken, is no run folder, or holds other settings.
        FolderInUse: another process writes to the folder.
    """
    config = _with_whole_paths(config)
    if out is None:
        if resume or overwrite:
            asked = "resume" if resume else "overwrite"
            raise ValueError(f"{asked}: name the run folder with --out")
        return Job(Run("runs", config), unnamed=True)
    if resume and overwrite:
        raise ValueError("resume: resumes a run that --overwrite deletes; give one of the two")
    job = Job(Run(out, config), covered=not lock)
    folder = job.run.folder
    check_free(folder, overwrite or resume)
    if lock:
        check_sweep_unused(folder)
    if exists(folder) and lock:
        job.lock = FolderLock(folder).acquire()
    try:
        if resume and job.run.last.exists():
            job.run = Run(folder, settings_to_resume(job.run, config))
            job.resumes = True
    except BaseException:
        job.release()
        raise
    return job


def _with_whole_paths(config: RunConfig) -> RunConfig:
    """Return the settings with paths that hold wherever the run is resumed."""
    own = {name: whole_path(getattr(config, name)) for name in OWN}
    config = replace(config, data_dir=os.path.abspath(config.data_dir), **own)
    if config.init_from:
        config = replace(config, init_from=os.path.abspath(config.init_from))
    if not is_path(config.dataset):
        return config
    check_path_name("dataset", config.dataset)
    return replace(config, dataset=os.path.abspath(config.dataset))
