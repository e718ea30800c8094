"""Measures of many runs, each measured once: what is known already is read from the run folders."""

from collections.abc import Sequence

import pandas as pd

from pyro_vae.data import Dataset
from pyro_vae.names import check_name
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.evaluate import evaluate
from pyro_vae.runs.evaluation import load_evaluation
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.measured import Measure, kept_figures
from pyro_vae.runs.parts import PARTS
from pyro_vae.runs.run import Run, load_data
from pyro_vae.settings import DataSettings, by_name


def measure(runs: Sequence[Run], function: Measure, **settings: object) -> pd.DataFrame:
    """Return a row of figures for each run, measured by a function of your own.

    The function is called with a run, the run's data set and the settings, and it returns figures by
    name: numbers, words, estimates, or arrays, such as values (N,) of N images. They are kept in the
    run's folder, and measured again only where the settings or the run's weights have changed.

    Args:
        runs: the runs, as `load_runs` returns them.
        function: the measure, with a name of its own. `pyro_vae.comparison.measures` has several.
        settings: the function's other arguments, which JSON can write.

    Returns:
        A table whose rows are named by the runs' folders, as those of `Runs.table` are. An estimate
        fills the columns NAME and NAME.standard_error. A cell can hold an array (N,) of images.

    Raises:
        ValueError: settings that JSON cannot write, or figures of another kind.
        FolderInUse: another process writes to a run's folder.
        OSError: a file cannot be written, or data can no longer be read.

    Example:
        >>> def brightness(run, data, images):
        ...     return {"brightness": run.vae.sample(images).mean().item()}
        >>> measure(load_runs("runs/betas"), brightness, images=100)  # doctest: +SKIP
    """
    loaded = _LastData()
    rows = [kept_figures(run, function, loaded.of(run.config), settings) for run in runs]
    folders = [str(run.folder) for run in runs]
    return pd.DataFrame(rows, index=pd.Index(folders, name="folder"))


class _LastData:
    """The data set of the last configuration, so that runs on the same data read it once."""

    def __init__(self):
        self._settings: dict | None = None
        self._data: Dataset | None = None

    def of(self, config: RunConfig):
        """Return a function that returns the data set of a configuration."""

        def load() -> Dataset:
            settings = by_name(config, DataSettings) | {"patience": config.patience}
            if self._data is None or settings != self._settings:
                self._data, self._settings = load_data(config), settings
            return self._data

        return load


def evaluate_missing(runs: Sequence[Run], only: Sequence[str], quick: bool = False) -> None:
    """Evaluate each run by those parts that have not measured its present weights yet.

    Args:
        runs: the runs, as `load_runs` returns them.
        only: names of `pyro_vae.runs.parts.PARTS`.
        quick: whether to take fewer images, draws and temperatures.

    Raises:
        ValueError: an unknown part.
        FolderInUse: another process writes to a run's folder.
        OSError: a run's data can no longer be read.
    """
    for name in only:
        check_name("only", name, PARTS)
    for run in runs:
        known = load_evaluation(RunFolder(run.folder).evaluation)
        missing = [name for name in only if not _is_measured(known, name, run)]
        if missing:
            evaluate(run, missing, quick)


def _is_measured(known: dict, name: str, run: Run) -> bool:
    """Return whether a part was measured; one that does not apply to the run is None."""
    if name not in known:
        return False
    part = known[name]
    return part is None or part.get("checkpoint") == run.fingerprint
