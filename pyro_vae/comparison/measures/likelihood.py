"""Estimates of log P(x) of a run's images, on their grey levels, in nats and in bits per dimension."""

from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.ais import Annealing, annealed_importance_sampling
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.pixels import refit_sigma
from pyro_vae.names import check_name
from pyro_vae.runs.run import Run

SPLITS = ("train", "validation", "test")


def importance(
    run: Run, data: Dataset, images: int, draws: int, split: str = "test"
) -> dict[str, Tensor]:
    """Return the importance bound of each image: `importance_nats` and `importance_bits`, (N,).

    Args:
        images: N, the first ones of the split that are measured.
        draws: the number of draws of z per image.
        split: `train`, `validation` or `test`.

    Raises:
        ValueError: an unknown split, or one that the run does not have.
    """
    x = images_of(data, split)[:images]
    nats = importance_bound(run.vae, x, draws).log_prob
    return {"importance_nats": nats, "importance_bits": bits_per_dim(nats, data.image_shape)}


def annealed(
    run: Run, data: Dataset, images: int, temperatures: int, chains: int, split: str = "test"
) -> dict[str, Tensor]:
    """Return log P of each image by AIS from q(z|x): `annealed_nats` and `annealed_bits`, (N,).

    An importance bound is looser where a small beta has made q narrow, and so prefers larger betas.
    Annealed importance sampling starts from q and moves to the posterior, which compares betas
    fairly.

    Args:
        images: N, the first ones of the split that are measured.
        temperatures, chains: the settings of the annealing.
        split: `train`, `validation` or `test`.

    Raises:
        ValueError: an unknown split, or one that the run does not have.
    """
    x = images_of(data, split)[:images]
    annealing = Annealing(temperatures, chains, start="posterior")
    nats = annealed_importance_sampling(run.vae, x, annealing).log_prob
    return {"annealed_nats": nats, "annealed_bits": bits_per_dim(nats, data.image_shape)}


def looseness(
    run: Run, data: Dataset, images: int, draws: int, temperatures: int, chains: int
) -> dict[str, Tensor]:
    """Return `looseness` of the importance bound of each test image, by AIS from q(z|x), nats (N,).

    Args:
        images: N, the first test images.
        draws: the number of draws of z of the importance bound.
        temperatures, chains: the settings of the annealing.
    """
    tight = annealed(run, data, images, temperatures, chains)["annealed_nats"]
    return {"looseness": tight - importance(run, data, images, draws)["importance_nats"]}


def with_refitted_sigma(run: Run, data: Dataset, draws: int) -> dict[str, Tensor]:
    """Return bits per dimension of the test images with the run's sigma and with the best one.

    The columns (N,) are `given_bits` and `refitted_bits`. They are importance bounds. The best sigma
    maximises the probability of the training images' levels.

    Args:
        draws: the number of draws of z per image.
    """
    refitted = refit_sigma(run.vae, data.train.images, score="levels")
    bits = {}
    for name, vae in {"given_bits": run.vae, "refitted_bits": refitted}.items():
        nats = importance_bound(vae, data.test.images, draws).log_prob
        bits[name] = bits_per_dim(nats, data.image_shape)
    return bits


def images_of(data: Dataset, split: str) -> Tensor:
    """Return the images (N, C, H, W) of a split.

    Raises:
        ValueError: an unknown split, or one that the data do not have.
    """
    found = getattr(data, check_name("split", split, SPLITS))
    if found is None:
        raise ValueError(f"split: {data.name} has no {split} images; hold some out")
    return found.images
