"""`train`: trains a configuration into a run folder, after three steps: locate, load, build."""

import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pyro

from pyro_vae.data import Dataset
from pyro_vae.names import is_path
from pyro_vae.runs.checkpoints import load_checkpoint
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder, check_free, check_resumable, free_folder
from pyro_vae.runs.observer import Observer
from pyro_vae.runs.run import (
    Run,
    build_model,
    load_data,
    load_data_again,
    load_run,
    no_likelihood,
    resolve_device,
)
from pyro_vae.runs.writer import Onlooker, RunWriter
from pyro_vae.settings import TrainingSettings, by_name, default_batch_size
from pyro_vae.training.fit import fit
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
        with ranks.in_turn():  # so that data are downloaded only once
            start = locate(config, out, resume, overwrite)
            if start.finished:
                return load_run(start.folder.path)
            data = start.load()
        return build(start, data, observer, ranks).train(observer)


@dataclass(frozen=True)
class Start:
    """The folder of a run, and the checkpoint from which it resumes.

    `folder` is None where one is still to be chosen. `checkpoint` is None where the run starts from
    the beginning.
    """

    config: RunConfig
    folder: RunFolder | None
    checkpoint: dict | None = None
    finished: bool = False

    def load(self, load: Load = load_data) -> Dataset:
        """Return the data set.

        Raises:
            ValueError: data that do not exist or cannot be read.
            OSError: the data of a resumed run can no longer be read.
        """
        return load_data_again(self.config, load) if self.checkpoint else load(self.config)


def locate(
    config: RunConfig, out: str | Path | None, resume: bool = False, overwrite: bool = False
) -> Start:
    """Return where a run begins or resumes, without writing anything.

    The arguments are those of `train`.

    Raises:
        ValueError: a folder that is taken, is no run folder, or holds other settings.
    """
    if is_path(config.dataset):
        config = replace(config, dataset=str(Path(config.dataset).resolve()))
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
    if not resume or not folder.last.exists():
        return Start(config, folder)
    config, saved = check_resumable(folder, config)
    finished = folder.summary.exists() and saved.epochs == config.epochs
    return Start(config, folder, load_checkpoint(folder.last), finished)


def build(start: Start, data: Dataset, observer: Observer, ranks: Ranks = ALONE) -> "Job":
    """Return the job that remains to be done, with its model and, if it resumes, its state.

    Raises:
        ValueError: a configuration or a checkpoint that does not fit the data.
    """
    batch_size = start.config.batch_size or default_batch_size(len(data.train))
    config = replace(start.config, batch_size=batch_size)
    training = _training(config, data, observer, ranks)
    if start.checkpoint:
        training.restore(start.checkpoint)
    folder = start.folder
    if folder is None and ranks.first:
        folder = free_folder(config)
    folder = ranks.gather(folder)[0]  # after this, the first rank may write
    return Job(folder, config, data, training, bool(start.checkpoint), ranks)


def _training(config: RunConfig, data: Dataset, observer: Observer, ranks: Ranks) -> Training:
    model = build_model(config, data.image_shape, data.levels)
    if data.levels is None and not model.likelihood.scores_grey:
        raise ValueError(
            f"levels: {config.likelihood} scores grey levels; name their number with --levels"
        )
    return fit(
        model,
        data.train.images,
        test_images=data.test.images,
        validation_images=data.validation and data.validation.images,
        dynamic=data.dynamic,
        device=resolve_device(config.device, ranks.local),
        should_stop=observer.should_stop,
        ranks=ranks,
        **by_name(config, TrainingSettings),
    )


@dataclass(frozen=True)
class Job:
    """A training that is ready to begin or to resume; nothing has been written for it yet."""

    folder: RunFolder
    config: RunConfig
    data: Dataset
    training: Training
    resumed: bool
    ranks: Ranks = ALONE

    def start(self) -> RunWriter | Onlooker:
        """Create the folder, or prepare that of a resumed run, and return its writer."""
        if not self.ranks.first:
            return Onlooker(self.folder)
        if self.resumed:
            self.folder.resume(self.config, self.training.epoch)
        else:
            self.folder.start(self.config)
        return RunWriter(self.folder, self.config, self.data, self.training)

    def train(self, observer: Observer) -> Run:
        """Train to the end and return the run; the errors are those of the function `train`."""
        try:
            self._train(self.start(), observer)
            self.ranks.gather()  # until all files are written
        except RankLost as error:
            raise RankLost(f"{error}; the last checkpoint stays: {self._again}") from error
        return load_run(self.folder.path)

    @property
    def _again(self) -> str:
        return f"pyro-vae train --resume --out {self.folder.path}"

    def _train(self, writer: RunWriter | Onlooker, observer: Observer) -> None:
        observer.started(self.folder, self.config, self.data, self.training)
        if not self.training.model.likelihood.is_likelihood:
            observer.notice(no_likelihood(self.config, self.data))
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
