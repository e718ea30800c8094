"""Runs side by side in pictures: the same images reconstructed, and the same codes decoded."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from pyro_vae.comparison.table import NO_MATTER, Finished, lines, varying
from pyro_vae.figures.images import enlarged, tile
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.names import is_path
from pyro_vae.pages.frame import Markup, png
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import to_numpy
from pyro_vae.runs.run import load_data, load_run

IMAGES = 8  # of each kind
EMBEDDED = ("digits", "sprites")  # data that no folder has to hold
MOST = 24  # settings that are shown
LOOK = (
    "The same test images reconstructed by each run, and the same codes decoded: component i of a code"
    " is the same number for every run that has it. All are expected images. Of several seeds the"
    " first is shown."
)


class Strip(NamedTuple):
    """The pictures of a run: its name, the address of its report, and two rows of images."""

    name: str
    report: str
    reconstructions: Markup
    samples: Markup


class Pictures(NamedTuple):
    """The pictures of a group of runs, under the originals."""

    look: str
    originals: Markup
    strips: list[Strip]


def pictures(runs: Sequence[Finished], page: Path) -> Pictures | None:
    """Return the pictures of runs on the same data, or None where neither can be read any more.

    Args:
        runs: those to show, the best first; one of each setting is shown.
        page: the folder of the page, from which reports are linked.
    """
    if not _data_are_here(runs[0].config):
        return None
    try:
        images = load_data(runs[0].config).test.images[:IMAGES]
    except (OSError, ValueError):
        return None
    settings = [name for name in varying(runs) if name not in NO_MATTER]
    strips: list[Strip] = []
    for name, alike in lines(runs, settings).items():
        first = min(alike, key=lambda run: run.config.seed)
        if len(strips) < MOST and (strip := _strip(name, first, images, page)):
            strips.append(strip)
    if not strips:
        return None
    return Pictures(LOOK, _row(images, "test images"), strips)


def _data_are_here(config: RunConfig) -> bool:
    """Return whether to look for the data: a comparison downloads none."""
    needs_folder = config.dataset not in EMBEDDED and not is_path(config.dataset)
    return not needs_folder or Path(config.data_dir).is_dir()


def _strip(name: str, run: Finished, images: Tensor, page: Path) -> Strip | None:
    """Return the pictures of a run, or None where it has no weights any more."""
    name = name or run.folder.path.name
    try:
        model = load_run(run.folder.path).vae
    except ValueError:
        return None
    return Strip(
        name,
        report_address(run, page),
        _row(_reconstructed(model, images), f"reconstructions by {name}"),
        _row(_decoded(model), f"samples of {name}"),
    )


def report_address(run: Finished, page: Path) -> str:
    """Return the address of a run's report as a link from a page in the folder `page`."""
    path = os.path.relpath(run.folder.report, page)
    return quote(Path(path).as_posix())


def common_codes(latent_dim: int) -> Tensor:
    """Return codes of the prior, (8, latent_dim), whose components do not depend on their number."""
    rows = np.random.default_rng(0).standard_normal((latent_dim, IMAGES))
    return torch.from_numpy(np.ascontiguousarray(rows.T))


@torch.no_grad()
def _reconstructed(model: LatentImageModel, images: Tensor) -> Tensor:
    x = images.to(next(model.parameters()))
    return model.decode(model.encode(x).mean).mean.clamp(0, 1)


@torch.no_grad()
def _decoded(model: LatentImageModel) -> Tensor:
    z = common_codes(model.latent_dim).to(next(model.parameters()))
    return model.decode(z).mean.clamp(0, 1)


def _row(images: Tensor, description: str) -> Markup:
    return png(tile(enlarged(to_numpy(images)), IMAGES), description)
