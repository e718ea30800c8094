"""pyro_vae: a laboratory for variational autoencoders, written as Pyro programs.

The names below are imported when they are first used, so that what needs no torch starts at once.
"""

import os
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_vae.comparison.runs import Runs as Runs
    from pyro_vae.comparison.runs import compare as compare
    from pyro_vae.comparison.runs import load_runs as load_runs
    from pyro_vae.comparison.seeds import best_settings as best_settings
    from pyro_vae.comparison.seeds import differences as differences
    from pyro_vae.comparison.seeds import over_seeds as over_seeds
    from pyro_vae.comparison.seeds import with_errors as with_errors
    from pyro_vae.data import Dataset as Dataset
    from pyro_vae.data import Split as Split
    from pyro_vae.data import load_dataset as load_dataset
    from pyro_vae.devices import about as about
    from pyro_vae.explorer.page import explore as explore
    from pyro_vae.likelihoods import LIKELIHOODS as LIKELIHOODS
    from pyro_vae.likelihoods import Likelihood as Likelihood
    from pyro_vae.models.autoencoder import Autoencoder as Autoencoder
    from pyro_vae.models.fitted import fit_prior as fit_prior
    from pyro_vae.models.vae import VAE as VAE
    from pyro_vae.runs.config import RunConfig as RunConfig
    from pyro_vae.runs.evaluate import evaluate as evaluate
    from pyro_vae.runs.evaluate import evaluate_missing as evaluate_missing
    from pyro_vae.runs.export import export as export
    from pyro_vae.runs.measure import measure as measure
    from pyro_vae.runs.observer import Observer as Observer
    from pyro_vae.runs.run import Run as Run
    from pyro_vae.runs.run import load_run as load_run
    from pyro_vae.runs.trackers import Tracked as Tracked
    from pyro_vae.runs.train import train as train
    from pyro_vae.sweeps.observer import SweepObserver as SweepObserver
    from pyro_vae.sweeps.sweep import sweep as sweep
    from pyro_vae.sweeps.together import train_many as train_many
    from pyro_vae.training.epochs import Record as Record
    from pyro_vae.training.fit import fit as fit
    from pyro_vae.training.fit import fit_many as fit_many

__version__ = "0.1.0"

_HOMES = {
    "LIKELIHOODS": "pyro_vae.likelihoods",
    "VAE": "pyro_vae.models.vae",
    "Autoencoder": "pyro_vae.models.autoencoder",
    "Dataset": "pyro_vae.data",
    "Likelihood": "pyro_vae.likelihoods",
    "Observer": "pyro_vae.runs.observer",
    "Record": "pyro_vae.training.epochs",
    "Run": "pyro_vae.runs.run",
    "RunConfig": "pyro_vae.runs.config",
    "Runs": "pyro_vae.comparison.runs",
    "Split": "pyro_vae.data",
    "SweepObserver": "pyro_vae.sweeps.observer",
    "Tracked": "pyro_vae.runs.trackers",
    "about": "pyro_vae.devices",
    "best_settings": "pyro_vae.comparison.seeds",
    "compare": "pyro_vae.comparison.runs",
    "differences": "pyro_vae.comparison.seeds",
    "evaluate": "pyro_vae.runs.evaluate",
    "evaluate_missing": "pyro_vae.runs.evaluate",
    "explore": "pyro_vae.explorer.page",
    "export": "pyro_vae.runs.export",
    "fit": "pyro_vae.training.fit",
    "fit_many": "pyro_vae.training.fit",
    "fit_prior": "pyro_vae.models.fitted",
    "load_dataset": "pyro_vae.data",
    "load_run": "pyro_vae.runs.run",
    "load_runs": "pyro_vae.comparison.runs",
    "measure": "pyro_vae.runs.measure",
    "over_seeds": "pyro_vae.comparison.seeds",
    "sweep": "pyro_vae.sweeps.sweep",
    "train": "pyro_vae.runs.train",
    "train_many": "pyro_vae.sweeps.together",
    "with_errors": "pyro_vae.comparison.seeds",
}

__all__ = sorted(_HOMES)


if not os.path.isabs(os.path.expanduser("~")):  # a container's user without a home
    _settings_folder = TemporaryDirectory(prefix="pyro-vae-")  # deleted when Python ends
    os.environ.setdefault("MPLCONFIGDIR", _settings_folder.name)  # else matplotlib would fail


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
