"""Runs side by side in pictures: the same images reconstructed, and the same codes decoded."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from pyro_vae.comparison.plots import Group
from pyro_vae.comparison.table import line_settings, lines, ranked
from pyro_vae.data import Split
from pyro_vae.figures.images import enlarged, tile
from pyro_vae.measures.part import to_numpy
from pyro_vae.notices import notice
from pyro_vae.pages.frame import Markup, image, png
from pyro_vae.runs.data import OtherImages, load_data_again
from pyro_vae.runs.report import videos
from pyro_vae.runs.run import Run

IMAGES = 8  # of each kind
MOST = 24  # settings that are shown


Strip = dict[str, str | Markup]  # of a run: its name, its report's address, and its pictures
TABLEAU = {"samples": "64 codes of", "kl_histogram": "the components of"}  # of a run's folder


def pictures(group: Group, page: Path) -> dict[str, Any] | None:
    """Return the pictures of runs on the same data, or None where neither can be read any more.

    They are the row of `originals`, and the `strips` of the runs. The `tableau` of a strip is what the
    run's folder has: 64 decoded codes, what the components carry, and the video of the chain.

    Args:
        group: the runs, of which one of each setting is shown.
        page: the folder of the page, from which reports are linked.
    """
    try:
        test = load_data_again(next(iter(group.runs.values()))).test[:IMAGES]
    except OtherImages as error:
        notice(f"compare: no pictures: {error}")
        return None
    except OSError:
        return None
    strips: list[Strip] = []
    for name, line in lines(ranked(group.table), line_settings(group.table)):
        run = group.runs[line["seed"].astype(int).idxmin()]
        if len(strips) < MOST and (strip := _strip(name or run.name, run, test, page)):
            strips.append(strip)
    return {"originals": _row(test.images, "test images"), "strips": strips} if strips else None


@torch.no_grad()
def _strip(name: str, run: Run, test: Split, page: Path) -> Strip | None:
    """Return the pictures of a run, or None where it has no weights any more."""
    try:
        model = run.vae
    except ValueError:
        return None
    x = test.images.to(next(model.parameters()))
    if model.embedding is not None:
        model = model.given(test.labels)
    reconstructions = model.images(model.encode(x).mean)
    samples = model.images(common_codes(model.latent_dim).to(x))
    return {
        "name": name,
        "report": report_address(run, page),
        "tableau": _tableau(run, name),
        "reconstructions": _row(reconstructions, f"reconstructions by {name}"),
        "samples": _row(samples, f"samples of {name}"),
    }


def _tableau(run: Run, name: str) -> Markup:
    paths = {words: run.picture(picture) for picture, words in TABLEAU.items()}
    shown = [image(path, f"{words} {name}") for words, path in paths.items() if path]
    return Markup("").join(shown + videos(run, "limiting_distribution"))


def report_address(run: Run, page: Path) -> str:
    """Return the address of a run's report as a link from a page in the folder `page`."""
    path = os.path.relpath(run.report, page)
    return quote(Path(path).as_posix())


def common_codes(latent_dim: int) -> Tensor:
    """Return codes of the prior, (8, latent_dim), whose components do not depend on their number."""
    rows = np.random.default_rng(0).standard_normal((latent_dim, IMAGES))
    return torch.from_numpy(np.ascontiguousarray(rows.T))


def _row(images: Tensor, description: str) -> Markup:
    return png(tile(enlarged(to_numpy(images)), IMAGES), description)
