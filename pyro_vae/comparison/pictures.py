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
from pyro_vae.runs.report import components, videos
from pyro_vae.runs.run import Run

IMAGES = 8  # of each kind
MOST = 24  # settings that are shown
FILMED = 4  # of them whose videos are shown, since a video has a megabyte


Strip = dict[str, str | Markup]  # of a run: its name, its report's address, and its pictures


def pictures(group: Group, page: Path) -> dict[str, Any] | None:
    """Return the pictures of runs on the same data, or None where neither can be read any more.

    They are the row of `originals`, the `strips` of the runs, and the `filmed` ones of them. The
    `tableau` of a strip is 64 decoded codes and what the components carry.

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
    if not strips:
        return None
    filmed = [strip for strip in strips if strip["video"]]
    originals = _row(test.images, "test images")
    return {"originals": originals, "strips": strips, "filmed": filmed[:FILMED]}


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
        "video": Markup("").join(videos(run, "limiting_distribution")),
        "reconstructions": _row(reconstructions, f"reconstructions by {name}"),
        "samples": _row(samples, f"samples of {name}"),
    }


def _tableau(run: Run, name: str) -> Markup:
    samples = run.picture("samples")
    shown = [] if samples is None else [image(samples, f"64 codes of {name}")]
    return Markup("").join([*shown, components(run).get("rates", "")])


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
