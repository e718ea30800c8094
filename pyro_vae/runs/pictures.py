"""The pictures that training leaves: what the model reconstructs, draws, and makes of codes."""

import io

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.paths import PATHS, interpolate, principal_plane, traverse
from pyro_vae.evaluation.terms import mean_variance_per_component, rate_per_component
from pyro_vae.figures import codes, one_run
from pyro_vae.figures.images import beside, grid, reconstruction_grid
from pyro_vae.measures.part import to_numpy
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.pages.frame import png_bytes
from pyro_vae.randomness import seeded
from pyro_vae.runs.metrics import Columns

Drawings = dict[str, Figure | bytes]  # by name; the name of a file's content has its ending

ROWS = 8  # components that are traversed, those whose means vary most
MOST_CODES = 2000  # points of the map
PAIRS = 4  # of images that are interpolated


def trained_pictures(
    model: LatentImageModel, data: Dataset, test: Tensor, metrics: Columns, seed: int
) -> Drawings:
    """Return all pictures of a trained model.

    Args:
        data: for the labels of its test images.
        test: the test images on the model's device, (N, C, H, W).
        metrics: the columns of `metrics.csv`.
        seed: of the draws.
    """
    with seeded(seed, test.device):
        reconstructions, samples = model.reconstruct(test[:16]), model.sample(64)
    pairs = reconstruction_grid(to_numpy(test[:16]), to_numpy(reconstructions))
    variances = mean_variance_per_component(model, test)
    drawings: Drawings = {
        "reconstructions.png": png_bytes(pairs),
        "samples.png": png_bytes(grid(to_numpy(samples), 8)),
        "learning_curves.png": png_of(one_run.learning_curves(metrics)),
    }
    rates = rate_per_component(model, test)
    if rates is not None:
        bars = codes.components(to_numpy(rates.mean(0)), to_numpy(variances))
        drawings["kl_histogram.png"] = png_of(bars)
    return drawings | _map(model, data, test) | _paths(model, test, variances)


def _map(model: LatentImageModel, data: Dataset, test: Tensor) -> Drawings:
    """Draw the mean codes of test images, in a plane of two components or of principal ones."""
    with torch.no_grad():
        means = torch.cat([model.encode(x).mean for x in chunks(test[:MOST_CODES])]).double()
    if means.shape[1] < 2:
        return {}
    points, names = means, ("component 1", "component 2")
    if means.shape[1] > 2:
        axes, (first, second) = principal_plane(means)
        points = (means - means.mean(0)) @ axes.T
        names = (f"first principal component ({first:.0%})", f"second ({second:.0%})")
    labels = data.test.labels
    shown = None if labels is None else labels[:MOST_CODES].cpu().numpy()
    return {"latent_map": codes.latent_map(to_numpy(points), shown, names)}


def _paths(model: LatentImageModel, test: Tensor, variances: Tensor) -> Drawings:
    """Draw traversals of the components that vary most, and interpolations of pairs of images."""
    moving = variances.argsort(descending=True)[:ROWS].tolist()
    rows = traverse(model, test[0], moving).flatten(0, 1)
    drawings: Drawings = {"traversals.png": png_bytes(grid(to_numpy(rows), 8))}
    if len(test) >= 2 * PAIRS:
        pairs = test[:PAIRS], test[PAIRS : 2 * PAIRS]
        ways = torch.cat([interpolate(model, *pairs, path=path) for path in PATHS])
        drawings["interpolation.png"] = png_bytes(grid(to_numpy(ways.flatten(0, 1)), 8))
    return drawings


def progress_picture(model: LatentImageModel, test: Tensor, epoch: int, seed: int) -> Drawings:
    """Draw reconstructions and samples after an epoch; images and codes are the same each time."""
    x = test[:16]
    with seeded(seed, x.device):
        reconstructions, samples = model.reconstruct(x), model.sample(32)
    pairs = reconstruction_grid(to_numpy(x), to_numpy(reconstructions))
    picture = beside(pairs, grid(to_numpy(samples), 8))
    return {f"progress_{epoch:04d}.png": png_bytes(picture)}


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150)
    return picture.getvalue()
