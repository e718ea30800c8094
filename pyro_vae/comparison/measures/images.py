"""The images that a run makes: how sharp they are, and how far from real ones."""

import torch
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.decoded import decoded_sets
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.features import FeatureNet
from pyro_vae.evaluation.limit import limiting_distribution
from pyro_vae.evaluation.samples import frechet_distance, sharpness_ratio
from pyro_vae.evaluation.verdict import explained_share, judge, mismatch
from pyro_vae.randomness import seeded
from pyro_vae.runs.classifiers import classifier_for
from pyro_vae.runs.run import Run

FAR = 100.0  # standard deviations of the prior, beyond which a chain counts as run away


def halves(data: Dataset, images: int) -> tuple[Tensor, Tensor]:
    """Return every other test image, (N, C, H, W) twice: a reference, and what is reconstructed.

    Args:
        images: N, at most half of the test images.
    """
    test = data.test.images
    return test[::2][:images], test[1::2][:images]


def distance_of_real_images(data: Dataset, data_dir: str, images: int) -> Estimate:
    """Return the squared Fréchet distance of the two `halves`, which is the least to expect.

    Args:
        data_dir: the data folder, where the classifier is kept.
        images: the number of images in each half.
    """
    net, (reference, others) = classifier_for(data, data_dir), halves(data, images)
    return frechet_distance(net.features(reference), net.features(others))


def decoded_quality(run: Run, data: Dataset, images: int) -> dict[str, float | str]:
    """Return how sharp and how real the four sets of `decoded_sets` are, and a verdict.

    The figures are `error, SET`, the squared error summed over pixels; `sharpness, SET`, 1 for real
    images; and `Fréchet, SET`, the squared distance in a classifier's features; `explained`, the
    share of the structure of images that reconstructions account for; and `verdict`.

    Args:
        images: the number of images in each set.
    """
    net, (reference, others) = classifier_for(data, run.config.data_dir), halves(data, images)
    sets = decoded_sets(run.vae, others, data.train.images, run.config.seed)
    figures: dict[str, float | str] = {}
    for name, made in sets.items():
        figures[f"error, {name}"] = (made - others).square().sum((1, 2, 3)).mean().item()
        figures[f"sharpness, {name}"] = sharpness_ratio(made, others).mean
        figures[f"Fréchet, {name}"] = _distance(net, reference, made)
    figures["explained"] = explained_share(run.vae, others)
    apart = mismatch(net, others, sets["prior"], sets["drawn"])
    figures["verdict"] = judge(figures["explained"], apart).word
    return figures


@torch.no_grad()
def generation_quality(run: Run, data: Dataset, images: int) -> dict[str, float]:
    """Return the squared Fréchet distances of `reconstructions` and `samples` to real images.

    Both are expected images; reconstructions are those of one draw of z.

    Args:
        images: the number of images in each set.
    """
    net, (reference, others) = classifier_for(data, run.config.data_dir), halves(data, images)
    with seeded(run.config.seed):
        sets = {
            "reconstructions": run.vae.reconstruct(others),
            "samples": run.vae.sample(len(others)),
        }
    return {name: _distance(net, reference, made) for name, made in sets.items()}


def _distance(net: FeatureNet, reference: Tensor, made: Tensor) -> float:
    return frechet_distance(net.features(reference), net.features(made)).mean


def chain(run: Run, data: Dataset, chains: int, steps: int) -> dict[str, float]:
    """Return where chains of decoding and encoding end, which begin in the prior.

    The figures are `drift`, the Kolmogorov distance between the prior and the component that is
    farthest from it, 0 to 1; `run away`, the share of chains that end more than 100 standard
    deviations out; and `p-value`, the smallest for codes that stay standard Normal, adjusted for the
    number of components.

    Args:
        chains, steps: the numbers of chains and of their steps.
    """
    limit = limiting_distribution(run.vae, chains, steps, 1, run.config.seed)
    away = (limit.z.abs() > FAR).any(1).double().mean().item()
    return {"drift": float(limit.distances.max()), "run away": away, "p-value": limit.p_value}
