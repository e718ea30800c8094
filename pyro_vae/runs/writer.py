"""The writer of a run folder, during training and at its end."""

import math
import time
from typing import cast

from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.bounds import Progress, no_progress
from pyro_vae.evaluation.latents import rate_per_component
from pyro_vae.figures import one_run
from pyro_vae.randomness import seeded
from pyro_vae.runs.checkpoints import load_checkpoint
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder, to_numpy
from pyro_vae.runs.per_image import save_per_image
from pyro_vae.runs.report import write_report
from pyro_vae.runs.results import finite, save_json
from pyro_vae.runs.summary import score, summarise
from pyro_vae.training.loop import Training
from pyro_vae.training.record import Record

PROGRESS_PICTURES = 8
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
        every = math.ceil(self.config.epochs / PROGRESS_PICTURES)
        last = self.training.finished
        if last or record.epoch % every == 0:
            self._draw_progress(record.epoch)
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
        with seeded(self.config.seed, self.test.device):
            reconstructions, samples = self.model.reconstruct(self.test[:16]), self.model.sample(64)
        save = self.folder.save_figure
        save("reconstructions", one_run.reconstruction_grid(
            to_numpy(self.test[:16]), to_numpy(reconstructions)))  # fmt: skip
        title = "Samples: expected images of codes from the prior"
        save("samples", one_run.image_grid(to_numpy(samples), 8, title))
        save("learning_curves", one_run.learning_curves(self.folder.columns()))
        if self.model.has_rate:
            rates = rate_per_component(self.model, self.test)
            save("kl_histogram", one_run.kl_histogram(to_numpy(rates)))
        scored = score(self.data, self.training, progress)
        save_per_image(self.folder.per_image, scored)
        summary = finite(
            summarise(self.config, self.data, self.training, scored, self.folder.columns())
        )
        write_report(self.folder.path, summary)  # before the summary, which says that all is there
        save_json(self.folder.summary, summary)

    @property
    def test(self) -> Tensor:
        return cast(Tensor, self.training.splits.test)  # a run has test images

    def _draw_progress(self, epoch: int) -> None:
        x = self.test[:16]
        with seeded(self.config.seed, x.device):
            reconstructions, samples = self.model.reconstruct(x), self.model.sample(32)
        picture = one_run.progress(to_numpy(x), to_numpy(reconstructions), to_numpy(samples), epoch)
        self.folder.save_figure(f"progress_{epoch:04d}", picture)


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


def _failure(error: FloatingPointError, folder: RunFolder) -> FloatingPointError:
    kept = folder.last if folder.last.exists() else "none yet"
    return FloatingPointError(f"{error}; last finite checkpoint: {kept}")
