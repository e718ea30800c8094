"""The files of a run folder, as they are written."""

import csv
import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from pyro_vae.checkpoints import save_checkpoint
from pyro_vae.files import PART, replace_file
from pyro_vae.pages.frame import png_bytes, svg
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.metrics import append_row, drop_rows_after
from pyro_vae.training.epochs import Record

if TYPE_CHECKING:
    from xarray import DataTree  # half a second


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
        drop_rows_after(self.metrics, epoch)
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
        append_row(self.metrics, record)

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

    def save_netcdf(self, name: str, tree: "DataTree") -> None:
        """Write NAME.nc, which ArviZ reads."""
        replace_file(self.path / f"{name}.nc", bytes(tree.to_netcdf()))
