"""The writer of a run folder, during training and at its end."""

import time
from typing import cast

from torch import Tensor

from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.data import Dataset
from pyro_vae.evaluation.progress import Progress, no_progress
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.per_image import save_per_image
from pyro_vae.runs.pictures import draw_pictures, draw_progress
from pyro_vae.runs.report import write_report
from pyro_vae.runs.results import finite, save_json
from pyro_vae.runs.run import Run
from pyro_vae.runs.summary import score, summarise
from pyro_vae.training.epochs import Record
from pyro_vae.training.loop import Training

SAVING_SHARE = 0.05  # of the time, at most, to be spent on checkpoints


class RunWriter:
    """The writer of a run folder, from the start of the run to its end."""

    def __init__(self, folder: RunFolder, config: RunConfig, data: Dataset, training: Training):
        self.folder, self.config, self.data, self.training = folder, config, data, training
        self.model = training.model
        self.saved_at, self.cost = time.monotonic(), 0.0
        self.about = {"image_shape": list(data.image_shape), "levels": data.levels}

    def add(self, record: Record) -> None:
        """Append the row of metrics, and write weights and a picture of progress when they are due."""
        self.folder.add(record)
        last = self.training.finished
        if last or is_power_of_two(record.epoch):
            draw_progress(self.folder, self.model, self.test, record.epoch, self.config.seed)
        if self.training.best_epoch == record.epoch:
            best = {"epoch": record.epoch, "model": self.model.state_dict()}
            self.folder.save_checkpoint(self.folder.best, self.about | best)
        if last or (time.monotonic() - self.saved_at) * SAVING_SHARE >= self.cost:
            self.save()

    def save(self) -> None:
        """Write the checkpoint from which the run can resume."""
        start = time.monotonic()
        self.folder.save_checkpoint(self.folder.last, self.about | self.training.state())
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - start

    def failure(self, error: FloatingPointError) -> FloatingPointError:
        """Return the error of a training that diverged, with its last finite checkpoint."""
        return _failure(error, self.folder)

    def finish(self, progress: Progress = no_progress) -> None:
        """Write the final figures, the summary and the report.

        They are those of the best weights if the run selects by validation images, and else of the
        last ones.
        """
        if self.training.best_epoch is not None:
            self.model.load_state_dict(load_checkpoint(self.folder.best)["model"])
        draw_pictures(self.folder, self.model, self.data, self.test, self.config.seed)
        scored = score(self.data, self.training, progress)
        save_per_image(self.folder.per_image, scored)
        summary = finite(
            summarise(self.config, self.data, self.training, scored, Run(self.folder.path).metrics)
        )
        write_report(self.folder.path, summary)  # before the summary, which says that all is there
        save_json(self.folder.summary, summary)

    @property
    def test(self) -> Tensor:
        return cast(Tensor, self.training.splits.test)  # a run has test images


class Onlooker:
    """A writer that writes nothing, for the ranks that leave all writing to the first one."""

    def __init__(self, folder: RunFolder):
        self.folder = folder

    def add(self, record: Record) -> None:
        """Do nothing."""

    def save(self) -> None:
        """Do nothing."""

    def failure(self, error: FloatingPointError) -> FloatingPointError:
        """Return the same error as the writer."""
        return _failure(error, self.folder)

    def finish(self, progress: Progress = no_progress) -> None:
        """Do nothing."""


def is_power_of_two(epoch: int) -> bool:
    """Return whether an epoch is 1, 2, 4, 8, ...: a model changes most in its first epochs."""
    return epoch & (epoch - 1) == 0


def _failure(error: FloatingPointError, folder: RunFolder) -> FloatingPointError:
    kept = folder.last if folder.last.exists() else "none yet"
    return FloatingPointError(f"{error}; last finite checkpoint: {kept}")
