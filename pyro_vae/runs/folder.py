"""A run folder on the disk: its files, how they are read and written, and how it is checked."""

import csv
import dataclasses
import io
import itertools
import json
import math
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor
from xarray import DataTree

from pyro_vae.files import replace_file
from pyro_vae.runs.checkpoints import save_checkpoint
from pyro_vae.runs.config import RunConfig
from pyro_vae.training.loop import Record

MAY_CHANGE_ON_RESUME = ("epochs", "device", "engine")
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
        self.failure = self.path / "failed.txt"  # which a sweep writes when a run fails
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        drawn = (self.path / "likelihood.csv", self.path / "posterior.nc")
        self.results = (self.summary, self.evaluation, self.report, *drawn)  # of finished training
        self.last, self.best = self.checkpoints / "last.pt", self.checkpoints / "best.pt"

    def start(self, config: RunConfig) -> None:
        """Create the folder, or delete the files of an earlier run in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (self.checkpoints, self.figures):
            if folder.exists():
                shutil.rmtree(folder)
        for file in (self.metrics, *self.results):
            file.unlink(missing_ok=True)
        config.save(self.config)  # after deleting: old checkpoints never lie beside new settings
        self.checkpoints.mkdir()
        self.figures.mkdir()

    def resume(self, config: RunConfig, epoch: int) -> None:
        """Prepare the folder for a run that has finished `epoch` epochs and is to resume.

        Final results and rows of later epochs are deleted.
        """
        config.save(self.config)
        for file in self.results:
            file.unlink(missing_ok=True)
        self.figures.mkdir(exist_ok=True)
        rows = [row for row in self._rows() if int(row["epoch"]) <= epoch]
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        table.writerows(rows)
        replace_file(self.metrics, text.getvalue())

    def add(self, record: Record) -> None:
        """Append the record to the rows of metrics."""
        with open(self.metrics, "a", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            if file.tell() == 0:
                table.writeheader()
            table.writerow({k: _blank(v) for k, v in dataclasses.asdict(record).items()})

    def _rows(self) -> list[dict[str, str]]:
        """Return the rows of metrics, without a last row that was cut off."""
        if not self.metrics.exists():
            return []
        try:
            with open(self.metrics, newline="") as file:
                lines = [line for line in file if line.endswith("\n")]
            rows = list(csv.DictReader(lines))
            for row in rows:
                {key: float(row[key] or 0) for key in COLUMNS}
        except (csv.Error, KeyError, TypeError, ValueError) as error:
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

    def save_json(self, path: Path, content: dict) -> None:
        """Write `summary` or `evaluation`; numbers that JSON does not have become null."""
        replace_file(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")

    def load_json(self, path: Path) -> dict | None:
        """Return what `save_json` wrote, or None where there is no file yet.

        Raises:
            ValueError: a file that is not JSON.
        """
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(f"{path.stem}: {path} is not JSON") from error

    def save_columns(self, name: str, columns: dict[str, list[float]]) -> None:
        """Write NAME.csv, with a row for each image."""
        text = io.StringIO(newline="")
        table = csv.writer(text)
        table.writerow(["image", *columns])
        table.writerows([n, *values] for n, values in enumerate(zip(*columns.values())))
        replace_file(self.path / f"{name}.csv", text.getvalue())

    def save_figure(self, name: str, figure: Figure) -> None:
        """Write figures/NAME.png."""
        picture = io.BytesIO()
        figure.savefig(picture, dpi=150)
        replace_file(self.figures / f"{name}.png", picture.getvalue())

    def save_video(self, name: str, ending: str, content: bytes) -> None:
        """Write a video as figures/NAME with its ending, `.mp4` or `.gif`."""
        replace_file(self.figures / f"{name}{ending}", content)

    def save_netcdf(self, name: str, tree: DataTree) -> None:
        """Write NAME.nc, which ArviZ reads."""
        replace_file(self.path / f"{name}.nc", tree.to_netcdf())


def to_numpy(x: Tensor) -> np.ndarray:
    """Return a tensor as an array of doubles, for figures."""
    return x.detach().cpu().double().numpy()


def _blank(value):
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _finite(value):
    """Return the same value with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- checks of the folder ------------------------------------------------------------------------


def free_folder(config: RunConfig) -> RunFolder:
    """Create the first free folder `runs/DATASET-LIKELIHOOD-NUMBER` and return it."""
    for number in itertools.count(1):
        folder = RunFolder(Path("runs", f"{config.data_name}-{config.kind}-{number}"))
        try:
            folder.path.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder


def check_free(folder: RunFolder, overwrite: bool = False) -> None:
    """Check that a run may begin in the folder.

    Raises:
        ValueError: a folder that exists and may not be overwritten, or is not a run folder.
    """
    path = folder.path
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"out: {path} is there already, and is not a folder")
    if not overwrite:
        raise ValueError(
            f"out: {path} is there already; name another folder, resume its run with --resume, or"
            " replace it with --overwrite"
        )
    if _entries(path) and not folder.config.exists():
        raise ValueError(f"out: {path} is not a run folder: it has no config.yaml; left as it is")


def _entries(path: Path) -> list[Path]:
    return [p for p in path.iterdir() if p.suffix != ".part"]


def check_resumable(folder: RunFolder, config: RunConfig) -> tuple[RunConfig, RunConfig]:
    """Return the settings to resume with, and those that the folder holds.

    Raises:
        ValueError: settings that differ from those of the folder and may not.
    """
    saved = RunConfig.load(folder.config)
    config, difference = compare_settings(saved, config, MAY_CHANGE_ON_RESUME)
    if difference:
        name, before, now = difference
        raise ValueError(
            f"resume: {name} is {before} in {folder.path}, got {now};"
            f" only {', '.join(MAY_CHANGE_ON_RESUME)} may change"
        )
    return config, saved


def compare_settings(
    saved: RunConfig, config: RunConfig, may_change: tuple[str, ...]
) -> tuple[RunConfig, tuple[str, object, object] | None]:
    """Compare a configuration with the one that a folder holds.

    Returns:
        The configuration, with the folder's batch size where it has none. Also the name of the
        first setting that differs and may not, with the folder's value and the new one; or None.
    """
    if config.batch_size is None:
        config = dataclasses.replace(config, batch_size=saved.batch_size)
    for f in fields(RunConfig):
        before, now = getattr(saved, f.name), getattr(config, f.name)
        if before != now and f.name not in may_change:
            return config, (f.name, before, now)
    return config, None
