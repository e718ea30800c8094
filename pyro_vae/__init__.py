"""pyro_vae: a laboratory for variational autoencoders, written as Pyro programs."""

from pyro_vae.comparison.table import compare
from pyro_vae.data import Dataset, Split, load_dataset
from pyro_vae.likelihoods.families import LIKELIHOODS, Likelihood
from pyro_vae.models.autoencoder import Autoencoder
from pyro_vae.models.vae import VAE
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.run import Run, load_run
from pyro_vae.runs.train import train
from pyro_vae.sweeps.sweep import sweep
from pyro_vae.sweeps.together import train_many
from pyro_vae.training.fit import fit, fit_many
from pyro_vae.training.loop import Record

__version__ = "0.1.0"

__all__ = [
    "LIKELIHOODS",
    "VAE",
    "Autoencoder",
    "Dataset",
    "Likelihood",
    "Record",
    "Run",
    "RunConfig",
    "Split",
    "compare",
    "evaluate",
    "fit",
    "fit_many",
    "load_dataset",
    "load_run",
    "sweep",
    "train",
    "train_many",
]


def __getattr__(name: str) -> object:
    if name == "evaluate":  # what it needs is slow to import
        from pyro_vae.runs.evaluate import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
