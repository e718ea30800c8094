"""A run beside trivial models of its training images, which are computed once per data set."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pyro_vae.data import Dataset, draw_binary
from pyro_vae.evaluation.baselines import independent_pixels, one_gaussian, ppca
from pyro_vae.evaluation.bounds import bits_per_dim
from pyro_vae.evaluation.estimates import estimate
from pyro_vae.kept import kept, mark_of
from pyro_vae.randomness import seeded

NAMES = {  # as pages say it
    "independent_pixels": "independent pixels",
    "one_gaussian": "one Gaussian",
    "ppca": "pPCA of the same latent size",
}
MOST_IMAGES = 1000  # test images that the baselines score


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
    mark = f"{data.name}-{mark_of(train):08x}-{mark_of(test):08x}-{levels}"
    functions: dict[str, Callable[[], Tensor]] = {
        "independent_pixels": lambda: independent_pixels(test, train, levels),
        "one_gaussian": lambda: one_gaussian(test, train, levels)[0],
        f"ppca-{latent_dim}": lambda: ppca(test, train, levels, latent_dim),
    }
    found = {}
    for name, function in functions.items():
        path = folder / "baselines" / f"{mark}-{name}.npz"
        arrays = kept(path, path.stem, lambda: {"log_prob_nats": function()})  # noqa: B023
        found[name.partition("-")[0]] = torch.from_numpy(arrays["log_prob_nats"])
    return found
