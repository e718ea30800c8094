"""Data sets of images in [0, 1] with a known number of grey levels."""

from pyro_vae.data.images import Dataset, Split, check_unit_interval, draw_binary
from pyro_vae.data.loading import (
    BINARIZE,
    DATASETS,
    check_dataset_name,
    is_path,
    load_dataset,
)

__all__ = [
    "BINARIZE",
    "DATASETS",
    "Dataset",
    "Split",
    "check_dataset_name",
    "check_unit_interval",
    "draw_binary",
    "is_path",
    "load_dataset",
]
