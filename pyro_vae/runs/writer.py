"""What training leaves in a run folder: metrics, checkpoints, pictures and, at its end, results."""

import csv
import io
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.checkpoints import load_checkpoint, save_checkpoint
from pyro_vae.data import Dataset, Split
from pyro_vae.evaluation.paths import PATHS, interpolate, principal_plane, traverse
from pyro_vae.evaluation.terms import mean_variance_per_component, rate_per_component
from pyro_vae.figures import one_run
from pyro_vae.figures.images import beside, grid, reconstruction_grid
from pyro_vae.files import replace_file
from pyro_vae.measures.part import to_numpy
from pyro_vae.models.elbo import chunks, each_given
from pyro_vae.models.labels import rows_of_classes
from pyro_vae.models.vae import VAE
from pyro_vae.notices import Progress, no_progress
from pyro_vae.pages.frame import png_bytes, svg
from pyro_vae.randomness import seeded
from pyro_vae.runs.metrics import Columns, append_row
from pyro_vae.runs.report import write_report
from pyro_vae.runs.results import finite, save_json, save_per_image
from pyro_vae.runs.run import Run
from pyro_vae.runs.summary import score, summarise
from pyro_vae.training.epochs import Record
from pyro_vae.training.loop import Training

SAVING_SHARE = 0.05  # of the time, at most, to be spent on checkpoints
ROWS = 8  # components that are traversed, those whose means vary most
MOST_CODES = 2000  # points of the map
PAIRS = 4  # of images that are interpolated

Drawings = dict[str, Figure | bytes]  # by name; the name of a file's content has its ending


def save_columns(
    path: Path, columns: dict[str, list[float]], names: Sequence[str] | None = None
) -> None:
    """Write a CSV file with a row for each image, which a name or else its number tells."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["image", *columns])
    rows = zip(*columns.values(), strict=True)
    table.writerows([n, *values] for n, values in zip(names or itertools.count(), rows))
    replace_file(path, text.getvalue())


def save_drawings(folder: Path, drawings: Drawings) -> None:
    """Write figures as NAME.png and, for pages, as NAME.svg, and all else as it is."""
    for name, drawing in drawings.items():
        if isinstance(drawing, Figure):
            replace_file(folder / f"{name}.svg", svg(drawing))
            replace_file(folder / f"{name}.png", png_of(drawing))
        else:
            replace_file(folder / name, drawing)


class RunWriter:
    """The writer of a run folder, from the first epoch to the end."""

    def __init__(self, run: Run, data: Dataset, training: Training):
        self.run, self.data, self.training = run, data, training
        self.model = training.model
        self.saved_at, self.cost = time.monotonic(), 0.0
        self.about = {"image_shape": list(data.image_shape), "levels": data.levels}

    def add(self, record: Record) -> None:
        """Append the row of metrics, and write weights and a picture of progress when they are due."""
        append_row(self.run.metrics_file, record)
        last = self.training.finished
        if last or is_power_of_two(record.epoch):
            seed = self.run.config.seed
            drawings = progress_picture(self.model, self.test, record.epoch, seed)
            save_drawings(self.run.figures, drawings)
        if self.training.best_epoch == record.epoch:
            best = {"epoch": record.epoch, "model": self.model.state_dict()}
            save_checkpoint(self.run.best, self.about | best)
        if last or (time.monotonic() - self.saved_at) * SAVING_SHARE >= self.cost:
            self.save()

    def save(self) -> None:
        """Write the checkpoint from which the run can resume."""
        start = time.monotonic()
        save_checkpoint(self.run.last, self.about | self.training.state())
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - start

    def finish(self, progress: Progress = no_progress) -> None:
        """Write the final figures, the summary and the report.

        They are those of the best weights if the run selects by validation images, and else of the
        last ones.
        """
        trained = Run(self.run.folder, self.run.config)  # with the rows of metrics as they are now
        if self.training.best_epoch is not None:
            self.model.load_state_dict(load_checkpoint(trained.best)["model"])
        drawings = trained_pictures(
            self.model, self.data, self.test, trained.metrics, trained.config.seed
        )
        save_drawings(trained.figures, drawings)
        scored = score(self.data, self.training, progress)
        save_per_image(
            trained.per_image_file,
            {name: (each.split.images, each.columns) for name, each in scored.items()},
        )
        trained.summary = finite(
            summarise(trained.config, self.data, self.training, scored, trained.metrics, progress)
        )
        write_report(trained)  # before the summary, which says that all is there
        save_json(trained.summary_file, trained.summary)

    @property
    def test(self) -> Split:
        """Return the test images on the model's device, with labels if it takes them."""
        return cast(Split, self.training.splits.test)  # a run has test images


def is_power_of_two(epoch: int) -> bool:
    """Return whether an epoch is 1, 2, 4, 8, ...: a model changes most in its first epochs."""
    return epoch & (epoch - 1) == 0


# --- pictures: what the model reconstructs, draws, and makes of codes ---------------------------------


def trained_pictures(
    model: VAE, data: Dataset, test: Split, metrics: Columns, seed: int
) -> Drawings:
    """Return all pictures of a trained model.

    Args:
        data: for the labels of its test images.
        test: the test images on the model's device.
        metrics: the columns of `metrics.csv`.
        seed: of the draws.
    """
    pairs, samples = _reconstructed_and_drawn(model, test[:16], 64, seed)
    labelled = model.given(test.labels)
    variances = mean_variance_per_component(labelled, test.images)
    drawings: Drawings = {
        "reconstructions.png": png_bytes(pairs),
        "samples.png": png_bytes(samples),
        "learning_curves.png": png_of(one_run.learning_curves(metrics)),
    }
    rates = rate_per_component(labelled, test.images)
    if rates is not None:
        bars = one_run.components(to_numpy(rates.mean(0)), to_numpy(variances))
        drawings["kl_histogram.png"] = png_of(bars)
    return drawings | _map(model, data, test) | _paths(model, test, variances)


def _reconstructed_and_drawn(
    model: VAE, split: Split, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of images beside their reconstructions, and of samples.

    A conditional model draws a row of eight for each class.
    """
    x, drawn = split.images, model
    if model.embedding is not None:
        drawn = model.given(rows_of_classes(model.classes, 8))
        count = len(drawn.labels)
    with seeded(seed, x.device):
        reconstructions, samples = model.given(split.labels).reconstruct(x), drawn.sample(count)
    pairs = reconstruction_grid(to_numpy(x), to_numpy(reconstructions))
    return pairs, grid(to_numpy(samples), 8)


def _map(model: VAE, data: Dataset, test: Split) -> Drawings:
    """Draw the mean codes of test images, in a plane of two components or of principal ones."""
    with torch.no_grad():
        few = test[:MOST_CODES]
        batches = each_given(model.given(few.labels), chunks(few.images))
        means = torch.cat([vae.encode(x).mean for vae, x in batches]).double()
    if means.shape[1] < 2:
        return {}
    points, names = means, ("component 1", "component 2")
    if means.shape[1] > 2:
        axes, (first, second) = principal_plane(means)
        points = (means - means.mean(0)) @ axes.T
        names = (f"first principal component ({first:.0%})", f"second ({second:.0%})")
    labels = data.test.labels
    shown = None if labels is None else labels[:MOST_CODES].cpu().numpy()
    return {"latent_map": one_run.latent_map(to_numpy(points), shown, names)}


def _paths(model: VAE, test: Split, variances: Tensor) -> Drawings:
    """Draw traversals of the components that vary most, and interpolations of pairs of images.

    Images with labels are not interpolated, since there is nothing between two labels.
    """
    moving = variances.argsort(descending=True)[:ROWS].tolist()
    first = test[:1]
    rows = traverse(model.given(first.labels), first.images[0], moving).flatten(0, 1)
    drawings: Drawings = {"traversals.png": png_bytes(grid(to_numpy(rows), 8))}
    if len(test) >= 2 * PAIRS and test.labels is None:
        pairs = test.images[:PAIRS], test.images[PAIRS : 2 * PAIRS]
        ways = torch.cat([interpolate(model, *pairs, path=path) for path in PATHS])
        drawings["interpolation.png"] = png_bytes(grid(to_numpy(ways.flatten(0, 1)), 8))
    return drawings


def progress_picture(model: VAE, test: Split, epoch: int, seed: int) -> Drawings:
    """Draw reconstructions and samples after an epoch; images and codes are the same each time."""
    picture = beside(*_reconstructed_and_drawn(model, test[:16], 32, seed))
    return {f"progress_{epoch:04d}.png": png_bytes(picture)}


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150)
    return picture.getvalue()
