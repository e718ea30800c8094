"""An observer that logs a run to an experiment tracker."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyro_vae.data import Dataset
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.observer import Observer
from pyro_vae.training.epochs import Record
from pyro_vae.training.loop import Training


class Tracked(Observer):
    """An observer that logs the settings and every epoch of a run to a tracker.

    Args:
        tracker: the module `wandb` or `trackio`, or any object with their functions
            `init(project, name, config)`, `log(numbers, step)` and `finish()`.
        project: the name under which the tracker keeps the run.

    Example:
        >>> import trackio  # doctest: +SKIP
        >>> pv.train(config, "runs/a", observer=pv.Tracked(trackio))  # doctest: +SKIP
    """

    def __init__(self, tracker: Any, project: str = "pyro_vae"):
        super().__init__()
        self.tracker, self.project = tracker, project

    def started(self, folder: Path, config: RunConfig, data: Dataset, training: Training) -> None:
        self.tracker.init(project=self.project, name=folder.name, config=asdict(config))

    def epoch(self, record: Record, last: bool) -> None:
        known = {name: value for name, value in asdict(record).items() if value is not None}
        self.tracker.log(known, step=record.epoch)

    def failed(self, error: Exception) -> None:
        self.tracker.finish()

    def finished(self) -> None:
        self.tracker.finish()
