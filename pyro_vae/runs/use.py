"""What the trained model of a run makes of images: codes, reconstructions, and how likely they are.

Pixels may be missing, which NaN marks. The model is then that of the others; see `VAE.given`.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data import check_unit_interval, has_missing
from pyro_vae.data.own import on_grid
from pyro_vae.devices import one_thread
from pyro_vae.evaluation.bounds import (
    ImportanceBound,
    bits_per_dim,
    decoded_at_once,
    importance_bound,
)
from pyro_vae.evaluation.imputation import Imputed
from pyro_vae.evaluation.imputation import impute as impute_images
from pyro_vae.kept import cache_file, digest, kept
from pyro_vae.measures.part import VERSION, to_numpy
from pyro_vae.models.elbo import each_given
from pyro_vae.models.labels import check_labels
from pyro_vae.models.vae import VAE
from pyro_vae.names import QUICK_BOUND_DRAWS
from pyro_vae.notices import Progress, no_progress
from pyro_vae.randomness import one_at_a_time, seeded
from pyro_vae.runs.data import Images, Trained, load_data_again, load_images

ENCODED_AT_ONCE = 2**20  # pixels
SMALL_MODEL = 200_000  # parameters

Source = Tensor | Images | str | Path


class Codes(NamedTuple):
    """The codes of images: means and standard deviations of q(z|x), (N, latent_dim) each.

    Those of a flow are estimated from 256 draws. A point has no standard deviations.
    """

    mean: Tensor
    scale: Tensor | None


class Scores(NamedTuple):
    """How likely images are, (N,) each.

    The rank is `(1 + test images at most as likely) / (1 + test images)`. Of new images of the same
    kind a share of at most a has a rank of at most a, for every a.

    Source: Bates, Candes, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", 2021,
    https://arxiv.org/abs/2104.08279.
    """

    log_prob: Tensor  # a lower bound, nats, of the pixels that are not missing
    effective_sample_size: Tensor  # of the draws of the bound
    bits_per_dim: Tensor | None  # of these; None where they lie on no known grid of grey levels
    rank: Tensor  # NaN where pixels are missing: fewer are likelier than a test image's


def read(run: Trained, source: str | Path, data_dir: str | None = None) -> Images:
    """Return images as the run reads its own: with its grey levels, and binary if those are.

    Args:
        source: the path of a file or a folder, or a data set's split.
        data_dir: the folder of the published data sets (default: where the run had them).

    Raises:
        ValueError: images that cannot be read, or that are not of the run's size.
    """
    config = run.config.at(data_dir)
    levels = run.vae.likelihood.levels if config.binarize == "none" else config.levels
    found = load_images(config, source, levels)
    check_images(run.vae, found.images, f" in {source}")
    return found


def few_threads(model: VAE) -> AbstractContextManager:
    """Return the context in which a model computes with as many threads as pay.

    The steps of a small model are so short that several threads would wait for each other.
    """
    return one_thread(sum(weight.numel() for weight in model.parameters()) < SMALL_MODEL)


@one_at_a_time()
@torch.no_grad()
def encode(run: Trained, images: Source, progress: Progress = no_progress) -> Codes:
    """Return the codes of images.

    Args:
        images: (N, C, H, W), a path, a data set's split, or what `read` returns, with labels. NaN
            marks a missing pixel.
        progress: a function that receives how many of what are done.

    Raises:
        ValueError: images that are not of the run's size, or not in [0, 1].
    """
    means, scales = [], []
    at_once = ENCODED_AT_ONCE // math.prod(run.vae.image_shape)
    with few_threads(run.vae):
        for vae, x in _batches(run, images, at_once, progress):
            q = vae.encode(x)
            means.append(q.mean.cpu())
            if run.vae.has_rate:
                scales.append(q.variance.sqrt().cpu())
    return Codes(torch.cat(means), torch.cat(scales) if scales else None)


@one_at_a_time()
def reconstruct(
    run: Trained, images: Source, seed: int = 0, progress: Progress = no_progress
) -> Tensor:
    """Return the expected images of codes that are drawn from q(z|x), (N, C, H, W).

    Args:
        images, progress: as for `encode`.
        seed: the seed of the codes.

    Raises:
        ValueError: images that are not of the run's size, or not in [0, 1].
    """
    batches = _batches(run, images, decoded_at_once(run.vae), progress)
    with seeded(seed, run.vae.device), few_threads(run.vae):
        return torch.cat([vae.reconstruct(x).cpu() for vae, x in batches])


@one_at_a_time()
def impute(
    run: Trained,
    images: Source,
    num_samples: int = QUICK_BOUND_DRAWS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Imputed:
    """Return images with their missing pixels at the values that the model expects, given the others.

    See `pyro_vae.evaluation.imputation.impute`, and `imputation_error` there for its error.

    Args:
        images, progress: as for `encode`.
        num_samples: the number of draws of z per image.
        seed: the seed of the draws.

    Raises:
        ValueError: images that are not of the run's size, or not in [0, 1]; a plain autoencoder.
    """
    vae, x = _given(run, images)
    with few_threads(vae):
        found = impute_images(vae, x.to(next(vae.parameters())), num_samples, seed, progress)
    return Imputed(found.images.cpu(), found.effective_sample_size.cpu())


@one_at_a_time()
def score(
    run: Trained,
    images: Source,
    num_samples: int = QUICK_BOUND_DRAWS,
    seed: int = 0,
    data_dir: str | None = None,
    dataset: str | Path | None = None,
    progress: Progress = no_progress,
) -> Scores:
    """Return how likely images are, by the importance bound, and their ranks among test images.

    The bounds of the run's test images are kept in the user's cache folder.

    Args:
        images, progress: as for `encode`.
        num_samples: the number of draws of z per image.
        seed: the seed of the draws.
        data_dir: the folder of the published data sets (default: where the run had them).
        dataset: the path of the run's own images (default: where the run had them).

    Raises:
        ValueError: images that are not of the run's size, in [0, 1] and on its grey levels; a
            model that gives images no probability.
        OSError: the run's test images can no longer be read.
    """
    model = run.vae
    if not (model.has_rate and model.likelihood.is_likelihood):
        raise ValueError(f"score: {run.config.kind} gives such images no probability")
    data = load_data_again(run, run.config.at(data_dir, dataset))
    vae, x = _given(run, images, data_dir)
    if data.levels is not None:
        x = on_grid(x, data.levels, "the images")
    measure = "density" if data.levels is None else "levels"

    def bound(vae: VAE, of: Tensor, unit: str) -> ImportanceBound:
        def count(done: int, total: int, _: str) -> None:
            progress(done, total, unit)

        placed = of.to(next(model.parameters()))
        with few_threads(model):
            return importance_bound(vae, placed, num_samples, seed, measure, count)

    def of_test_images() -> dict[str, np.ndarray]:
        known = _given(run, Images(data.test.images, data.test.labels))
        return {"log_prob": to_numpy(bound(*known, "test images").log_prob)}

    settings = (num_samples, seed, model.device.type, VERSION)
    mark = digest(run.fingerprint, data.test.images, *settings)
    known = kept(cache_file("test_scores", mark), mark, of_test_images)["log_prob"]
    log_prob, size = (found.cpu() for found in bound(vae, x, "images"))
    there = (~x.isnan()).flatten(1).to(log_prob).mean(1)  # the share of pixels that are not missing
    bits = None if data.levels is None else bits_per_dim(log_prob, model.image_shape) / there
    rank = rank_among(log_prob, torch.from_numpy(known)).masked_fill(there < 1, math.nan)
    return Scores(log_prob, size, bits, rank)


def _batches(
    run: Trained, images: Source, at_once: int, progress: Progress
) -> Iterator[tuple[VAE, Tensor]]:
    """Yield the model and batches of about the same size where it is.

    A small one at the end would take another product of matrices, which rounds otherwise.
    """
    vae, given = _given(run, images)
    weight, done = next(vae.parameters()), 0
    batches = given.tensor_split(math.ceil(len(given) / max(1, at_once)))
    for model, x in each_given(vae, batches):
        yield model, x.to(weight)
        done += len(x)
        progress(done, len(given), "images")


def _given(run: Trained, images: Source, data_dir: str | None = None) -> tuple[VAE, Tensor]:
    """Return the model, with the labels of the images if it takes some, and images (N, C, H, W)."""
    found = read(run, images, data_dir) if isinstance(images, (str, Path)) else images
    found = found if isinstance(found, Images) else Images(found)
    check_images(run.vae, found.images)
    labels = None if run.vae.embedding is None else found.labels
    check_labels(run.vae.embedding, labels, found.images)
    return run.vae.given(labels, has_missing(found.images)), found.images


def check_images(model: VAE, images: Tensor, where: str = "") -> None:
    """Raise a ValueError unless images have the model's size, and pixels in [0, 1] or missing (NaN).

    Args:
        where: ends the message.
    """
    channels, height, width = model.image_shape
    if isinstance(images, Tensor) and images.shape[1:] != (channels, height, width):
        mode, got = "L" if channels == 1 else "RGB", "x".join(map(str, images.shape[1:]))
        raise ValueError(
            f"images: expected {channels}x{height}x{width} (channels, height, width) as the run's,"
            f" got {got}{where}; Pillow converts pictures:"
            f" picture.convert('{mode}').resize(({width}, {height}))"
        )
    model.check_shape(images)
    check_unit_interval(images, missing=True)


def rank_among(values: Tensor, known: Tensor) -> Tensor:
    """Return (1 + number of known values at most as large) / (1 + number of known values)."""
    below = torch.searchsorted(known.to(values).sort().values, values, right=True)
    return (1 + below).double() / (1 + len(known))
