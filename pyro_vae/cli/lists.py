"""The commands that list names; torch is imported only to download a data set."""

from argparse import Namespace

from pyro_vae.names import DATASETS, LIKELIHOODS
from pyro_vae.runs.interrupts import Interrupts


def run_likelihoods(parsed: Namespace, interrupts: Interrupts) -> None:
    """List the likelihood families."""
    for name, description in LIKELIHOODS.items():
        print(f"{name:30s}{description}")


def run_datasets(parsed: Namespace, interrupts: Interrupts) -> None:
    """List the data sets, or download one and check it."""
    if parsed.name:
        _load(parsed.name, parsed.data_dir)
        return
    for name, description in DATASETS.items():
        print(f"{name:18s}{description}")


def _load(name: str, data_dir: str) -> None:
    from pyro_vae.data import load_dataset  # needs torch

    data = load_dataset(name, data_dir)
    shape = "x".join(map(str, data.image_shape))
    print(
        f"{data.name} is complete: {len(data.train)} training and {len(data.test)} test images"
        f" {shape}"
    )
