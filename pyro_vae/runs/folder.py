"""A run folder on the disk: its files, how they are read and written, and how it is checked."""

import csv
import dataclasses
import io
import math
import shutil
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.checkpoints import save_checkpoint
from pyro_vae.files import PART, read_file, replace_file
from pyro_vae.pages.frame import png_bytes, svg
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.results import load_summary
from pyro_vae.training.record import Record

if TYPE_CHECKING:
    from xarray import DataTree  # half a second

COLUMNS = [f.name for f in fields(Record)]


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.summary = self.path / "summary.json"
        self.evaluation = self.path / "evaluation.json"
        self.report = self.path / "report.html"
        self.explorer = self.path / "explore.html"
        self.per_image = self.path / "per_image.npz"
        self.failure = self.path / "failed.txt"  # which a sweep writes when a run fails
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        names = ("likelihood.csv", "validation_likelihood.csv", "posterior.nc")
        measured = (self.summary, self.evaluation, self.report, self.explorer, self.per_image)
        self.results = (*measured, *(self.path / name for name in names))  # of finished training
        self.last, self.best = self.checkpoints / "last.pt", self.checkpoints / "best.pt"

    def weights(self, config: RunConfig) -> Path:
        """Return the checkpoint that the run is known by: the best one if it selects, else the last."""
        selects = config.patience is not None and self.best.exists()
        return self.best if selects else self.last

    def current_summary(self, config: RunConfig) -> dict | None:
        """Return the summary of the training that `config` asks for; None while it is not there.

        A run that was finished and is resumed for more epochs keeps its earlier summary until the
        new one is written; that one is not current.

        Raises:
            ValueError: the file is no summary of a run.
        """
        summary = load_summary(self.summary)
        if summary is None:
            return None
        patient = config.patience is not None  # such a run may have ended before
        asked = summary.get("asked_epochs", config.epochs if patient else summary.get("epochs"))
        return summary if asked in (config.epochs, None) else None

    def finished(self, config: RunConfig) -> bool:
        """Return whether the run is complete, as `config` asks for it.

        The report is written before the summary, so that a current summary is the last thing that
        becomes true.
        """
        return self.report.exists() and self.current_summary(config) is not None

    def start(self, config: RunConfig) -> None:
        """Delete the files of an earlier run in the folder, and write the settings."""
        for folder in (self.checkpoints, self.figures):
            if folder.exists():
                shutil.rmtree(folder)
        for file in (self.metrics, self.failure, *self.results):
            file.unlink(missing_ok=True)
        self._delete_parts()
        config.save(self.config)  # after deleting: old checkpoints never lie beside new settings
        self.checkpoints.mkdir()
        self.figures.mkdir()

    def resume(self, config: RunConfig, epoch: int) -> None:
        """Prepare the folder for a run that has finished `epoch` epochs and is to resume.

        Rows of later epochs are deleted. Final results stay until their successors are written.

        Raises:
            ValueError: a file that is not a table of metrics; nothing is changed then.
        """
        rows = [row for row in self._rows() if int(float(row["epoch"])) <= epoch]
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        table.writerows(rows)
        replace_file(self.metrics, text.getvalue())
        config.save(self.config)
        self.failure.unlink(missing_ok=True)
        self._delete_parts()
        self.figures.mkdir(exist_ok=True)

    def _delete_parts(self) -> None:
        """Delete files that a killed process has begun to write."""
        for folder in (self.path, self.checkpoints, self.figures):
            for part in folder.glob(f".*{PART}"):
                part.unlink(missing_ok=True)

    def add(self, record: Record) -> None:
        """Append the record to the rows of metrics."""
        with open(self.metrics, "a", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            if file.tell() == 0:
                table.writeheader()
            table.writerow({k: _blank(v) for k, v in dataclasses.asdict(record).items()})

    def _rows(self) -> list[dict[str, str]]:
        """Return the rows of metrics, without a last row that was cut off."""
        try:
            text = read_file(self.metrics).decode()
            lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
            rows = list(csv.DictReader(lines))
            for row in rows:
                values = {key: float(row[key] or 0) for key in COLUMNS}
                int(values["epoch"]), int(values["step"])
        except FileNotFoundError:
            return []
        except (csv.Error, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"metrics: {self.metrics} is no table of metrics") from error
        return rows

    def columns(self) -> dict[str, list[float | None]]:
        """Return the columns of metrics by name, with None where nothing was measured.

        Raises:
            ValueError: a file that is not a table of metrics.
        """
        rows = self._rows()
        return {key: [float(row[key]) if row[key] else None for row in rows] for key in COLUMNS}

    def records(self) -> list[Record]:
        """Return the rows of metrics as the records of training.

        Raises:
            ValueError: a file that is not a table of metrics.
        """
        rows = [dict(zip(COLUMNS, values)) for values in zip(*self.columns().values())]
        counts = [{name: int(row[name]) for name in ("epoch", "step")} for row in rows]
        blank = {f.name: math.nan for f in fields(Record) if f.default is dataclasses.MISSING}
        known = ({k: v for k, v in row.items() if v is not None} for row in rows)
        return [Record(**blank | row | count) for row, count in zip(known, counts)]

    def save_checkpoint(self, path: Path, content: dict) -> None:
        """Write the checkpoint `last` or `best`."""
        save_checkpoint(path, content)

    def save_columns(self, name: str, columns: dict[str, list[float]]) -> None:
        """Write NAME.csv, with a row for each image."""
        text = io.StringIO(newline="")
        table = csv.writer(text)
        table.writerow(["image", *columns])
        table.writerows([n, *values] for n, values in enumerate(zip(*columns.values())))
        replace_file(self.path / f"{name}.csv", text.getvalue())

    def save_figure(self, name: str, figure: Figure) -> None:
        """Write figures/NAME.png, and figures/NAME.svg for pages."""
        replace_file(self.figures / f"{name}.svg", svg(figure))
        self.save_png(name, figure)

    def save_png(self, name: str, figure: Figure) -> None:
        """Write figures/NAME.png."""
        picture = io.BytesIO()
        figure.savefig(picture, dpi=150)
        replace_file(self.figures / f"{name}.png", picture.getvalue())

    def save_picture(self, name: str, picture: np.ndarray) -> None:
        """Write a picture (height, width, 3) of pixels in [0, 1] as figures/NAME.png."""
        replace_file(self.figures / f"{name}.png", png_bytes(picture))

    def picture(self, name: str) -> Path | None:
        """Return the file of a figure that a page shows best, or None where it was not drawn."""
        paths = (self.figures / f"{name}{ending}" for ending in (".svg", ".png"))
        return next((path for path in paths if path.exists()), None)

    def save_video(self, name: str, ending: str, content: bytes) -> None:
        """Write a video as figures/NAME with its ending, `.mp4` or `.gif`."""
        replace_file(self.figures / f"{name}{ending}", content)

    def save_netcdf(self, name: str, tree: "DataTree") -> None:
        """Write NAME.nc, which ArviZ reads."""
        replace_file(self.path / f"{name}.nc", bytes(tree.to_netcdf()))


def to_numpy(x: Tensor) -> np.ndarray:
    """Return a tensor as an array of doubles, for figures."""
    return x.detach().cpu().double().numpy()


def _blank(value):
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
