"""A run beside trivial models of its training images, which are computed once per data set."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vae.data import Dataset, draw_binary
from pyro_vae.evaluation.baselines import independent_pixels, one_gaussian, ppca, spread
from pyro_vae.evaluation.bounds import bits_per_dim
from pyro_vae.evaluation.estimates import NEGLIGIBLE_BITS, estimate
from pyro_vae.kept import cache_file, digest, kept
from pyro_vae.notices import Progress, no_progress, notice
from pyro_vae.randomness import seeded

NAMES = {  # as pages say it
    "independent_pixels": "independent pixels",
    "one_gaussian": "one Gaussian (pixel by pixel)",
    "ppca": "pPCA of the same latent size",
}
MOST_IMAGES = 1000  # test images that the baselines score
MOST_NUMBERS = 2**26  # pixels and channels of all training images together, as 60,000 of MNIST
VERSION = 1  # of the baselines; raise it where they give other numbers


def beside_baselines(
    data: Dataset,
    log_prob: Tensor,
    latent_dim: int,
    num_samples: int,
    progress: Progress = no_progress,
) -> dict[str, dict[str, float]]:
    """Return the bits of each baseline, and by how much the run is likelier on the same images.

    Args:
        log_prob: the run's log P of the grey levels of the test images, nats (N,).
        latent_dim: the run's, for pPCA.
        num_samples: the draws of z per image that the run's log P took; pPCA takes as many.
        progress: a function that receives how many baselines are done.

    Returns:
        By the names of `NAMES`: `bits_per_dim`, and `gain_nats` with `gain_error`, the mean of the
        run's log P minus the baseline's, over images in pairs, also as `gain_bits_per_dim`. A
        baseline that cannot be computed is left out with a notice.
    """
    found = {}
    for name, values in _baselines(data, latent_dim, num_samples, progress).items():
        gain = estimate(log_prob[: len(values)].cpu().double() - values)
        found[name] = {
            "bits_per_dim": bits_per_dim(values.mean(), data.image_shape).item(),
            "gain_nats": gain.mean,
            "gain_error": gain.standard_error,
            "gain_bits_per_dim": gain.mean / math.prod(data.image_shape) / math.log(2),
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


def worse_than(baselines: dict[str, dict[str, float]]) -> list[str]:
    """Return the words for the baselines that a run is worse than.

    It is worse by more than two standard errors, and by more than a comparison could ignore.
    """
    return [
        NAMES[name]
        for name, figures in baselines.items()
        if name in NAMES
        and figures["gain_nats"] < -2 * (figures["gain_error"] or 0)
        and figures.get("gain_bits_per_dim", -math.inf) < -NEGLIGIBLE_BITS
    ]


def _baselines(
    data: Dataset, latent_dim: int, num_samples: int, progress: Progress
) -> dict[str, Tensor]:
    """Return log P of the first test images under each baseline, nats."""
    train = spread(data.train.images, MOST_NUMBERS)
    train = train.cpu().float()  # draws of another type would be others
    if data.dynamic:
        with seeded(0):
            train = draw_binary(train)
    test, levels = data.test.images[:MOST_IMAGES].cpu().float(), data.levels
    functions: dict[str, Callable[[], Tensor]] = {
        "independent_pixels": lambda: independent_pixels(test, train, levels),
        "one_gaussian": lambda: one_gaussian(test, train, levels)[0],
        "ppca": lambda: ppca(test, train, levels, latent_dim, num_samples),
    }
    settings = {"ppca": (latent_dim, num_samples)}
    of_data, found = digest(VERSION, train, test, levels), dict[str, Tensor]()
    for done, (name, function) in enumerate(functions.items()):
        progress(done, len(functions), "baselines")
        mark = f"{name} {settings.get(name)} {of_data}"
        try:
            arrays = kept(cache_file("baselines", mark), mark, lambda: {"nats": function()})  # noqa: B023
            found[name] = torch.from_numpy(arrays["nats"])
        except (RuntimeError, ValueError) as error:  # torch has no other class for what it lacks
            notice(f"baselines: {NAMES[name]} is left out: {error}")
    progress(len(functions), len(functions), "baselines")
    return found
