"""Data sets of images in [0, 1] with a known number of grey levels."""

from pyro_vae.data.images import Dataset, Split, check_unit_interval, draw_binary, has_missing
from pyro_vae.data.loading import LOADERS, load_dataset

__all__ = [
    "LOADERS",
    "Dataset",
    "Split",
    "check_unit_interval",
    "draw_binary",
    "has_missing",
    "load_dataset",
]
