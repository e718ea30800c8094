"""`train`: from a configuration to a run folder."""

import dataclasses
import signal
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyro

from pyro_vae.data import Dataset, is_path
from pyro_vae.evaluation.bounds import Progress, no_progress
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder, check_free, free_folder, resumable
from pyro_vae.runs.interrupts import Interrupts
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
from pyro_vae.training.fit import fit
from pyro_vae.training.loop import Record, Stopped, Training
from pyro_vae.training.processes import ALONE, RankLost, Ranks


def train(
    config: RunConfig,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    announce: Callable[[Path, RunConfig, Dataset, Training], None] | None = None,
    on_record: Callable[[Record, bool], None] | None = None,
    interrupts: Interrupts | None = None,
    progress: Progress = no_progress,
    ranks: Ranks = ALONE,
) -> Run:
    """Train by a configuration and leave a run folder.

    Args:
        out: the folder, which must not exist; a new one under `runs/` unless told.
        resume: go on in `out` from its checkpoint, to exactly what an uninterrupted run gives;
            start where there is none, return at once where the run is finished.
        overwrite: replace the run in `out`.
        announce: called once before training, with folder, configuration, data and training.
        on_record: called after every epoch, with its record and whether it was the last.
        progress: called with the fraction that is done of measuring the trained model.
        interrupts: signals that end training after its step, when all of it has been saved.
        ranks: processes that train together, each of which calls this with the same arguments, as
            in `ranks=Ranks.launched()` under torchrun; the first one writes the folder.

    Raises:
        ValueError: a configuration that does not fit the data or the folder; nothing has been
            written then.
        FloatingPointError: training diverged; the last finite checkpoint stays.
        OSError: the folder cannot be written, or the data of a resumed run cannot be read.
        Interrupted: a signal came; the state has been saved.
        RankLost: another rank is gone; the last checkpoint stays.
    """
    with ranks.joined(resolve_device(config.device, ranks.local)):
        job = prepare(config, out, resume, overwrite, interrupts, ranks=ranks)
        if isinstance(job, Run):
            return job
        return job.train(announce, on_record, interrupts, progress)


@dataclass(frozen=True)
class Job:
    """A training that is ready to begin or to go on; nothing has been written for it yet."""

    folder: RunFolder
    config: RunConfig
    data: Dataset
    training: Training
    resumed: bool
    ranks: Ranks = ALONE

    def start(self) -> RunWriter | Onlooker:
        """Make the folder, or take up the one that the run goes on in."""
        if not self.ranks.first:
            return Onlooker(self.folder)
        if self.resumed:
            self.folder.go_on(self.config, self.training.epoch)
        else:
            self.folder.start(self.config)
        return RunWriter(self.folder, self.config, self.data, self.training)

    def train(
        self,
        announce: Callable[[Path, RunConfig, Dataset, Training], None] | None = None,
        on_record: Callable[[Record, bool], None] | None = None,
        interrupts: Interrupts | None = None,
        progress: Progress = no_progress,
    ) -> Run:
        """Do it; arguments and errors as in the function `train`."""
        try:
            self._train(self.start(), announce, on_record, interrupts, progress)
            self.ranks.gather()  # all is written
        except RankLost as error:
            raise RankLost(f"{error}; the last checkpoint stays: {self._again}") from error
        return load_run(self.folder.path)

    @property
    def _again(self) -> str:
        return f"pyro-vae train --resume --out {self.folder.path}"

    def _train(
        self,
        writer: RunWriter | Onlooker,
        announce: Callable[[Path, RunConfig, Dataset, Training], None] | None,
        on_record: Callable[[Record, bool], None] | None,
        interrupts: Interrupts | None,
        progress: Progress,
    ) -> None:
        if announce:
            announce(self.folder.path, self.config, self.data, self.training)
        elif not self.training.engine.model.likelihood.is_likelihood:
            warnings.warn(no_likelihood(self.config, self.data), stacklevel=4)
        with pyro.validation_enabled(False):  # the images are checked; weights, after every epoch
            self._take_epochs(writer, on_record, interrupts)
            if interrupts:
                interrupts.note = (
                    f"; training is done and saved, its measuring goes on with: {self._again}"
                )
            writer.finish(progress)

    def _take_epochs(
        self,
        writer: RunWriter | Onlooker,
        on_record: Callable[[Record, bool], None] | None,
        interrupts: Interrupts | None,
    ) -> None:
        patient = self.ranks.count > 1  # torchrun passes on a signal that all may have had
        with interrupts.deferred(patient) if interrupts else nullcontext():
            try:
                for record in self.training:
                    writer.add(record)
                    if on_record:
                        on_record(record, self.training.finished)
            except Stopped:
                writer.save()
                self.ranks.gather()  # torchrun ends all as soon as one has gone
                interrupts.pending = interrupts.pending or signal.SIGTERM  # which another rank had
                interrupts.note = f" after step {self.training.step}; all is saved: {self._again}"
            except FloatingPointError as error:
                raise writer.failure(error) from error


def prepare(
    config: RunConfig,
    out: str | Path | None,
    resume: bool = False,
    overwrite: bool = False,
    interrupts: Interrupts | None = None,
    load: Callable[[RunConfig], Dataset] = load_data,
    ranks: Ranks = ALONE,
) -> Job | Run:
    """The job that `train` would do, or the run where that is finished; arguments as there.

    Raises:
        ValueError: a configuration that does not fit the data or the folder.
        OSError: the data of a resumed run cannot be read.
    """
    if is_path(config.dataset):
        config = dataclasses.replace(config, dataset=str(Path(config.dataset).resolve()))
    folder, checkpoint = None if out is None else RunFolder(out), None
    if (resume or overwrite) and folder is None:
        raise ValueError(f"{'resume' if resume else 'overwrite'}: name the run folder with --out")
    if resume and overwrite:
        raise ValueError("resume: goes on with a run that --overwrite deletes; give one of the two")
    with ranks.in_turn():  # data are downloaded once
        if resume and (previous := resumable(folder, config)):
            config, checkpoint = previous
            if folder.summary.exists() and RunConfig.load(folder.config).epochs == config.epochs:
                return load_run(folder.path)
        elif folder:
            check_free(folder, overwrite or resume)
        data = load_data_again(config, load) if checkpoint else load(config)
    batch_size = config.batch_size or min(128, len(data.train))
    config = dataclasses.replace(config, batch_size=batch_size)
    training = _training(config, data, interrupts, ranks)
    if checkpoint:
        training.restore(checkpoint)
    if folder is None and ranks.first:
        folder = free_folder(config)
    folder = ranks.gather(folder)[0]  # and from here on the first rank may write
    return Job(folder, config, data, training, bool(checkpoint), ranks)


def _training(
    config: RunConfig, data: Dataset, interrupts: Interrupts | None, ranks: Ranks
) -> Training:
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
        objective=config.objective,
        num_particles=config.num_particles,
        beta=config.beta,
        beta_schedule=config.beta_schedule,
        warmup_epochs=config.warmup_epochs,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        learning_rate_schedule=config.learning_rate_schedule,
        patience=config.patience,
        seed=config.seed,
        device=resolve_device(config.device, ranks.local),
        precision=config.precision,
        engine=config.engine,
        should_stop=lambda: interrupts is not None and interrupts.pending is not None,
        ranks=ranks,
    )
