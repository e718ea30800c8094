"""`explore`: one HTML file that runs the models of finished runs in the browser."""

import copy
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from pyro_vae.comparison.table import DATA, label, varying
from pyro_vae.data import Dataset
from pyro_vae.evaluation.estimates import ACTIVE_VARIANCE
from pyro_vae.evaluation.paths import principal_plane
from pyro_vae.evaluation.terms import is_active
from pyro_vae.explorer.model import byte_text, describe, float32_text
from pyro_vae.figures import LABELS
from pyro_vae.files import replace_file
from pyro_vae.models.elbo import chunks
from pyro_vae.names import command
from pyro_vae.pages.frame import render
from pyro_vae.randomness import one_at_a_time
from pyro_vae.runs.data import check_images, load_data_again
from pyro_vae.runs.run import OneRun, Run, runs_of
from pyro_vae.settings import PLACE, setting_text

MOST_CODES, MOST_IMAGES = 2000, 48  # test images on the map, and those to click
MOST_CLASSES = 30  # labels that have a colour and a shape each
MOST_PAIRS = 6  # of components, whose planes can be chosen
KINDS = {"vae": "VAE", "autoencoder": "autoencoder"}
FILE = "explore.html"


@one_at_a_time()
def explore(
    runs: OneRun | Sequence[OneRun],
    out: str | Path | None = None,
    data_dir: str | None = None,
    dataset: str | Path | None = None,
) -> Path:
    """Write a page that runs the models of finished runs in the browser, and return its path.

    Args:
        runs: a run, the path of its folder, or several of either, trained on the same data.
        out: the file to write (default: `explore.html`, in the folder of a single run and in the
            working directory for several).
        data_dir: the folder of the published data sets (default: where the first run had them).
        dataset: the path of the runs' own images (default: where the first run had them).

    Raises:
        ValueError: a folder without a finished run; runs of different data; a network or weights
            that the page cannot hold; an `out` that is a folder, lies in none, or is not HTML.
        OSError: the data can no longer be read or hold other images, or the page cannot be written.

    Example:
        >>> explore(["runs/beta1", "runs/beta4"], "betas.html")  # doctest: +SKIP
    """
    loaded = runs_of(runs)
    path = _place(loaded, out)
    _check(loaded)
    config = loaded[0].config.at(data_dir, dataset)
    data = load_data_again(loaded[0], config)
    for run in loaded[1:]:
        check_images(run, data, config.dataset)
    replace_file(path, page_of(loaded, data))
    return path


def _place(runs: list[Run], out: str | Path | None) -> Path:
    """Return where the page goes."""
    if out is None:
        return runs[0].explorer if len(runs) == 1 else Path(FILE)
    path = Path(out)
    if path.suffix not in (".html", ".htm") or path.is_dir():
        raise ValueError(f"out: expected the name of an .html file, got {path}")
    if not path.parent.is_dir():
        raise ValueError(f"out: there is no folder {path.parent}")
    return path


def _check(runs: list[Run]) -> None:
    """Check that the runs are finished and of the same data."""
    if not runs:
        raise ValueError("runs: expected at least one, got none")
    for run in runs:
        if run.summary is None:
            raise ValueError(
                f"runs: {run.folder} is not finished; finish it with"
                f" {command('train', '--out', run.folder, '--resume')}"
            )
        known = run.image_fingerprint and run.image_fingerprint == runs[0].image_fingerprint
        for name in DATA[1:] if known else DATA:  # known images may have moved
            ours, first = (getattr(each.config, name) for each in (run, runs[0]))
            if ours != first:
                raise ValueError(
                    f"runs: expected runs on the same data, got {name} {setting_text(first)} in"
                    f" {runs[0].folder} and {setting_text(ours)} in {run.folder};"
                    " give those of one data set"
                )


# --- the page ---------------------------------------------------------------------------------------


def page_of(runs: list[Run], data: Dataset) -> str:
    """Return the page of finished runs on the same data."""
    on_map, count = evenly_spaced(len(data.test), MOST_CODES), len(data.test)
    shown = f"all {count:,}" if len(on_map) == count else f"{len(on_map):,} of {count:,}"
    labels = {"labels": _labels(data, on_map), "colors": LABELS}
    tables = [
        _table(run, data.test.images[on_map]) | {"title": title}
        for run, title in zip(runs, run_titles(runs))
    ]
    return render(
        "explore.html",
        generator="pyro-vae",
        title=page_title(runs),
        words=f"{about_runs(runs)} The map shows {shown} test images.",
        several=len(runs) > 1,
        content=_images(data) | labels | {"runs": tables},
    )


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return up to `most` rows of `count`, from the first to the last."""
    return torch.linspace(0, count - 1, min(count, most)).round().long().tolist()


@torch.no_grad()
def _table(run: Run, images: Tensor) -> dict[str, object]:
    """Return what the page knows of a run.

    The importance of a component is its mean KL, or the variance of its codes if it has none.
    """
    model = copy.deepcopy(run.vae).cpu().eval()
    described, images = describe(model), images.to(next(model.parameters()))
    codes = torch.cat([model.encode(x).mean for x in chunks(images)])
    test = (run.summary or {})["test"]
    rates, variances = map(test.get, ("rate_per_component_nats", "mean_variance_per_component"))
    spread = codes.var(0, correction=0) if variances is None else torch.tensor(variances)
    importance = spread if rates is None else torch.tensor(rates)
    return {
        "model": described,
        "has_rate": model.has_rate,
        "importance": importance.tolist(),
        "active": is_active(spread).tolist(),
        "least_variance": ACTIVE_VARIANCE,
        "codes": float32_text(codes, "codes"),
        "planes": planes(codes, importance),
    }


def _images(data: Dataset) -> dict[str, object]:
    """Return the images to click as bytes; those of more than 256 grey levels are rounded to 256."""
    rows = evenly_spaced(len(data.test), MOST_IMAGES)
    last = min(data.levels or 256, 256) - 1
    labels = data.test.labels
    return {
        "image_shape": list(data.image_shape),
        "levels": data.levels,
        "image_last_level": last,
        "image_bytes": byte_text((data.test.images[rows] * last).round()),
        "image_labels": None if labels is None else labels[rows].tolist(),
        "image_numbers": [row + 1 for row in rows],
    }


def _labels(data: Dataset, rows: list[int]) -> list[int] | None:
    if data.test.labels is None or len(data.test.labels.unique()) > MOST_CLASSES:
        return None
    return data.test.labels[rows].tolist()


# --- its words --------------------------------------------------------------------------------------


def page_title(runs: list[Run]) -> str:
    """Return the title of the page."""
    config = runs[0].config
    one = f"{config.likelihood} {KINDS[config.model]}"
    return f"Explore {config.data_name}: {one if len(runs) == 1 else f'{len(runs)} runs'}"


def differing(runs: list[Run]) -> list[str]:
    """Return the settings in which runs differ, but for those that change no result."""
    settings = pd.DataFrame([vars(run.config) for run in runs], dtype=object)
    return [name for name in varying(settings) if name not in PLACE]


def run_titles(runs: list[Run]) -> list[str]:
    """Return a title for each run: its values of the settings that differ, or else its folder."""
    names = differing(runs)
    found = [label(vars(run.config), names) for run in runs]
    return found if names and len(set(found)) == len(runs) else [str(run.folder) for run in runs]


def about_runs(runs: list[Run]) -> str:
    """Return a sentence on what the runs are."""
    if len(runs) == 1:
        config = runs[0].config
        components = "component" if config.latent_dim == 1 else "components"
        return f"Network {config.network} with {config.latent_dim} latent {components}."
    names = [name.replace("_", " ") for name in differing(runs)]
    return f"{len(runs)} runs, which differ in {', '.join(names) or 'no setting'}."


# --- planes of the map ------------------------------------------------------------------------------

Plane = dict[
    str, object
]  # its `name`, its `words`, and two orthonormal `axes` of latent_dim numbers


def planes(codes: Tensor, importance: Tensor) -> list[Plane]:
    """Return the planes to choose from, the most telling one first.

    They are the plane of the first two principal components, where there are more than two latent
    components, and those of pairs of components by falling importance. A latent space of one
    component has a second axis of zeros.

    Args:
        codes: posterior means (N, latent_dim), N >= 2.
        importance: (latent_dim,), in any unit.
    """
    latent_dim = codes.shape[1]
    order = importance.argsort(descending=True, stable=True).tolist()
    if latent_dim == 1:
        return [_plane("component 1", torch.eye(2, 1))]
    pairs = []
    for first in range(0, min(latent_dim - 1, 2 * MOST_PAIRS), 2):
        one, other = sorted(order[first : first + 2])
        axes = torch.eye(latent_dim)[[one, other]]
        pairs.append(_plane(f"components {one + 1} and {other + 1}", axes))
    if latent_dim == 2:
        return pairs
    axes, shares = principal_plane(codes)
    share = f"{shares.sum().item():.0%}"
    words = f"The first two principal components have {share} of the variance of the codes."
    return [_plane("principal components", axes, words), *pairs]


def _plane(name: str, axes: Tensor, words: str = "") -> Plane:
    return {"name": name, "axes": axes.tolist(), "words": words}
