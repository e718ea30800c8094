"""pyro_vae: a laboratory for variational autoencoders, written as Pyro programs."""

from pyro_vae.autoencoder import Autoencoder
from pyro_vae.comparison import compare
from pyro_vae.config import RunConfig
from pyro_vae.data import Dataset, Split, load_dataset
from pyro_vae.fitting import fit, fit_many
from pyro_vae.likelihoods import LIKELIHOODS, Likelihood
from pyro_vae.runs import Run, load_run, train
from pyro_vae.sweeps import sweep, train_many
from pyro_vae.training import Record
from pyro_vae.vae import VAE

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
        from pyro_vae.evaluations import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
