"""The pictures that training leaves: what the model reconstructs, draws, and makes of codes."""

import torch
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.paths import PATHS, interpolate, principal_plane, traverse
from pyro_vae.evaluation.terms import mean_variance_per_component, rate_per_component
from pyro_vae.figures import codes, one_run
from pyro_vae.figures.images import beside, grid, reconstruction_grid
from pyro_vae.measures.part import to_numpy
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.randomness import seeded
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.run import Run

ROWS = 8  # components that are traversed, those whose means vary most
MOST_CODES = 2000  # points of the map
PAIRS = 4  # of images that are interpolated


def draw_pictures(
    folder: RunFolder, model: LatentImageModel, data: Dataset, test: Tensor, seed: int
) -> None:
    """Draw all pictures of a trained model into its folder.

    Args:
        data: for the labels of its test images.
        test: the test images on the model's device, (N, C, H, W).
        seed: of the draws.
    """
    with seeded(seed, test.device):
        reconstructions, samples = model.reconstruct(test[:16]), model.sample(64)
    pairs = reconstruction_grid(to_numpy(test[:16]), to_numpy(reconstructions))
    folder.save_picture("reconstructions", pairs)
    folder.save_picture("samples", grid(to_numpy(samples), 8))
    folder.save_png("learning_curves", one_run.learning_curves(Run(folder.path).metrics))
    variances = mean_variance_per_component(model, test)
    if model.has_rate:
        rates = rate_per_component(model, test).mean(0)
        folder.save_png("kl_histogram", codes.components(to_numpy(rates), to_numpy(variances)))
    draw_map(folder, model, data, test)
    draw_paths(folder, model, test, variances)


def draw_map(folder: RunFolder, model: LatentImageModel, data: Dataset, test: Tensor) -> None:
    """Draw the mean codes of test images, in a plane of two components or of principal ones."""
    with torch.no_grad():
        means = torch.cat([model.encode(x).mean for x in chunks(test[:MOST_CODES])]).double()
    if means.shape[1] < 2:
        return
    points, names = means, ("component 1", "component 2")
    if means.shape[1] > 2:
        axes, (first, second) = principal_plane(means)
        points = (means - means.mean(0)) @ axes.T
        names = (f"first principal component ({first:.0%})", f"second ({second:.0%})")
    labels = data.test.labels
    shown = None if labels is None else labels[:MOST_CODES].cpu().numpy()
    folder.save_figure("latent_map", codes.latent_map(to_numpy(points), shown, names))


def draw_paths(folder: RunFolder, model: LatentImageModel, test: Tensor, variances: Tensor) -> None:
    """Draw traversals of the components that vary most, and interpolations of pairs of images."""
    moving = variances.argsort(descending=True)[:ROWS].tolist()
    rows = traverse(model, test[0], moving).flatten(0, 1)
    folder.save_picture("traversals", grid(to_numpy(rows), 8))
    if len(test) < 2 * PAIRS:
        return
    pairs = test[:PAIRS], test[PAIRS : 2 * PAIRS]
    ways = torch.cat([interpolate(model, *pairs, path=path) for path in PATHS])
    folder.save_picture("interpolation", grid(to_numpy(ways.flatten(0, 1)), 8))


def draw_progress(
    folder: RunFolder, model: LatentImageModel, test: Tensor, epoch: int, seed: int
) -> None:
    """Draw reconstructions and samples after an epoch; images and codes are the same each time."""
    x = test[:16]
    with seeded(seed, x.device):
        reconstructions, samples = model.reconstruct(x), model.sample(32)
    pairs = reconstruction_grid(to_numpy(x), to_numpy(reconstructions))
    picture = beside(pairs, grid(to_numpy(samples), 8))
    folder.save_picture(f"progress_{epoch:04d}", picture)
