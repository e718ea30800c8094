"""A run beside trivial models of its training images, which are computed once per data set."""

import contextlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data import Dataset, draw_binary
from pyro_vae.evaluation.baselines import independent_pixels, one_gaussian, ppca
from pyro_vae.evaluation.bounds import bits_per_dim
from pyro_vae.evaluation.estimates import estimate
from pyro_vae.files import read_file, replace_file
from pyro_vae.randomness import seeded
from pyro_vae.runs.per_image import mark_of

NAMES = {  # as pages say it
    "independent_pixels": "independent pixels",
    "one_gaussian": "one Gaussian",
    "ppca": "pPCA of the same latent size",
}
MOST_IMAGES = 1000  # test images that the baselines score
LARGEST = 2**24  # bytes


def beside_baselines(
    data: Dataset, log_prob: Tensor, latent_dim: int, folder: str | Path
) -> dict[str, dict[str, float]]:
    """Return the bits of each baseline, and by how much the run is likelier on the same images.

    Args:
        log_prob: the run's log P of the grey levels of the test images, nats (N,).
        latent_dim: the run's, for pPCA.
        folder: the data folder, where the baselines are kept. Nothing is kept if it cannot be
            written to.

    Returns:
        By the names of `NAMES`: `bits_per_dim`, and `gain_nats` with `gain_error`, the mean of the
        run's log P minus the baseline's, over images in pairs.
    """
    found = {}
    for name, values in _baselines(data, latent_dim, Path(folder)).items():
        gain = estimate(log_prob[: len(values)].cpu().double() - values)
        bits = bits_per_dim(values.mean(), data.image_shape).item()
        found[name] = {
            "bits_per_dim": bits,
            "gain_nats": gain.mean,
            "gain_error": gain.standard_error,
        }
    return found


def not_beaten(baselines: dict[str, dict[str, float]]) -> list[str]:
    """Return the words for the baselines that a run does not beat by two standard errors.

    A single test image has no error (None), and is taken at its word.
    """
    return [
        NAMES[name]
        for name, figures in baselines.items()
        if name in NAMES and figures["gain_nats"] <= 2 * (figures["gain_error"] or 0)
    ]


def _baselines(data: Dataset, latent_dim: int, folder: Path) -> dict[str, Tensor]:
    """Return log P of the first test images under each baseline, nats."""
    train = data.train.images.cpu().float()  # draws of another type would be others
    if data.dynamic:
        with seeded(0):
            train = draw_binary(train)
    test, levels = data.test.images[:MOST_IMAGES].cpu().float(), data.levels
    marks = f"{data.name}-{mark_of(train):08x}-{mark_of(test):08x}-{levels}"
    functions: dict[str, Callable[[], Tensor]] = {
        "independent_pixels": lambda: independent_pixels(test, train, levels),
        "one_gaussian": lambda: one_gaussian(test, train, levels)[0],
        "ppca": lambda: ppca(test, train, levels, latent_dim),
    }
    paths = {name: folder / "baselines" / f"{marks}-{name}.npz" for name in functions}
    paths["ppca"] = paths["ppca"].with_name(f"{marks}-ppca-{latent_dim}.npz")
    return {name: _kept(paths[name], function) for name, function in functions.items()}


def _kept(path: Path, compute: Callable[[], Tensor]) -> Tensor:
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        kept = np.load(io.BytesIO(read_file(path, LARGEST)), allow_pickle=False)
        return torch.from_numpy(kept["log_prob_nats"])
    values, content = compute(), io.BytesIO()
    np.savez(content, log_prob_nats=values.numpy())
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.getvalue())
    return values
