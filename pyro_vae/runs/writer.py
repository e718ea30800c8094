"""How a run folder is written: when a run begins or resumes, during training and at its end."""

import csv
import io
import os
import shutil
import time
from pathlib import Path
from typing import cast

from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.checkpoints import load_checkpoint, save_checkpoint
from pyro_vae.data import Dataset
from pyro_vae.files import PART, replace_file
from pyro_vae.notices import Progress, no_progress
from pyro_vae.pages.frame import svg
from pyro_vae.runs.metrics import append_row, drop_rows_after
from pyro_vae.runs.pictures import Drawings, png_of, progress_picture, trained_pictures
from pyro_vae.runs.report import write_report
from pyro_vae.runs.results import finite, save_json, save_per_image
from pyro_vae.runs.run import Run
from pyro_vae.runs.summary import score, summarise
from pyro_vae.training.epochs import Record
from pyro_vae.training.loop import Training

SAVING_SHARE = 0.05  # of the time, at most, to be spent on checkpoints
MEASURED = ("likelihood.csv", "validation_likelihood.csv", "posterior.nc")  # by an evaluation


def start_folder(run: Run) -> None:
    """Delete the files of an earlier run in the folder, and write the settings.

    Raises:
        ValueError: something else is in the place of one of them; nothing is deleted then.
    """
    folders = [
        path for path in (run.checkpoints, run.figures, run.measured) if os.path.lexists(path)
    ]
    results = (run.summary_file, run.evaluation_file, run.report, run.explorer, run.per_image_file)
    measured = (run.folder / name for name in MEASURED)
    files = (run.metrics_file, run.failure_file, run.parts_file, *results, *measured)
    others = [path for path in folders if path.is_symlink() or not path.is_dir()]
    others += [path for path in files if path.is_dir() and not path.is_symlink()]
    if others:
        raise ValueError(f"out: {others[0]} is not what a run writes; move it elsewhere first")
    for folder in folders:
        shutil.rmtree(folder)
    for file in files:
        file.unlink(missing_ok=True)
    _delete_parts(run)
    run.config.save(run.config_file)  # after deleting: no old checkpoints beside new settings
    run.checkpoints.mkdir()
    run.figures.mkdir()


def resume_folder(run: Run, epoch: int) -> None:
    """Prepare the folder for a run that has finished `epoch` epochs and is to resume.

    Rows of later epochs are deleted. Final results stay until their successors are written.

    Raises:
        ValueError: a file that is not a table of metrics; nothing is changed then.
    """
    drop_rows_after(run.metrics_file, epoch)
    run.config.save(run.config_file)
    run.failure_file.unlink(missing_ok=True)
    _delete_parts(run)
    run.figures.mkdir(exist_ok=True)


def _delete_parts(run: Run) -> None:
    """Delete files that a killed process has begun to write."""
    inside = [path for path in (run.checkpoints, run.figures) if not path.is_symlink()]
    for folder in (run.folder, *inside):
        for part in folder.glob(f".{'[0-9a-f]' * 16}{PART}"):
            part.unlink(missing_ok=True)


def save_columns(path: Path, columns: dict[str, list[float]]) -> None:
    """Write a CSV file with a row for each image."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["image", *columns])
    table.writerows([n, *values] for n, values in enumerate(zip(*columns.values())))
    replace_file(path, text.getvalue())


def save_drawings(folder: Path, drawings: Drawings) -> None:
    """Write figures as NAME.png and, for pages, as NAME.svg, and all else as it is."""
    for name, drawing in drawings.items():
        if isinstance(drawing, Figure):
            replace_file(folder / f"{name}.svg", svg(drawing))
            replace_file(folder / f"{name}.png", png_of(drawing))
        else:
            replace_file(folder / name, drawing)


class RunWriter:
    """The writer of a run folder, from the first epoch to the end."""

    def __init__(self, run: Run, data: Dataset, training: Training):
        self.run, self.data, self.training = run, data, training
        self.model = training.model
        self.saved_at, self.cost = time.monotonic(), 0.0
        self.about = {"image_shape": list(data.image_shape), "levels": data.levels}

    def add(self, record: Record) -> None:
        """Append the row of metrics, and write weights and a picture of progress when they are due."""
        append_row(self.run.metrics_file, record)
        last = self.training.finished
        if last or is_power_of_two(record.epoch):
            seed = self.run.config.seed
            drawings = progress_picture(self.model, self.test, record.epoch, seed)
            save_drawings(self.run.figures, drawings)
        if self.training.best_epoch == record.epoch:
            best = {"epoch": record.epoch, "model": self.model.state_dict()}
            save_checkpoint(self.run.best, self.about | best)
        if last or (time.monotonic() - self.saved_at) * SAVING_SHARE >= self.cost:
            self.save()

    def save(self) -> None:
        """Write the checkpoint from which the run can resume."""
        start = time.monotonic()
        save_checkpoint(self.run.last, self.about | self.training.state())
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - start

    def finish(self, progress: Progress = no_progress) -> None:
        """Write the final figures, the summary and the report.

        They are those of the best weights if the run selects by validation images, and else of the
        last ones.
        """
        trained = Run(self.run.folder, self.run.config)  # with the rows of metrics as they are now
        if self.training.best_epoch is not None:
            self.model.load_state_dict(load_checkpoint(trained.best)["model"])
        drawings = trained_pictures(
            self.model, self.data, self.test, trained.metrics, trained.config.seed
        )
        save_drawings(trained.figures, drawings)
        scored = score(self.data, self.training, progress)
        save_per_image(trained.per_image_file, {name: each[:2] for name, each in scored.items()})
        trained.summary = finite(
            summarise(trained.config, self.data, self.training, scored, trained.metrics, progress)
        )
        write_report(trained)  # before the summary, which says that all is there
        save_json(trained.summary_file, trained.summary)

    @property
    def test(self) -> Tensor:
        """Return the test images on the model's device."""
        return cast(Tensor, self.training.splits.test)  # a run has test images


def is_power_of_two(epoch: int) -> bool:
    """Return whether an epoch is 1, 2, 4, 8, ...: a model changes most in its first epochs."""
    return epoch & (epoch - 1) == 0
