"""How a run is shown in a notebook: what was set, how it ended, and pictures of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pyro_vae.files import read_file
from pyro_vae.pages.frame import KINDS, address, can_be_shown

PICTURES = {"reconstructions.png": "Reconstructions", "samples.png": "Samples"}
FIGURES = {  # of `summary.json`, by their names on the card
    "elbo_nats": "test ELBO, nats per image",
    "rate_nats": "rate",
    "distortion_nats": "distortion",
    "bits_per_dim": "bits per dimension",
    "active_units": "active components",
}
ROW = Markup('<tr><th style="text-align:left">{}</th><td style="text-align:left">{}</td></tr>')
PICTURE = Markup('<img alt="{}" style="width:22em;max-width:100%" src="{}">')
CARD = Markup(
    "<div><h4>{}</h4><table>{}</table>"
    '<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:start">{}</div></div>'
)


def run_card(
    title: str, settings: Mapping[str, Any], test: Mapping[str, Any] | None, figures: Path
) -> str:
    """Return HTML without scripts: a table of settings and figures, and the pictures that are there.

    Args:
        title: the heading.
        settings: the settings to show, by name.
        test: the figures of the test images in `summary.json`, or None before the run is finished.
        figures: the folder of the pictures, inside that of the run.
    """
    rows = [ROW.format(name, _text(value)) for name, value in settings.items()]
    for key, name in FIGURES.items():
        if test is not None and test.get(key) is not None:
            rows.append(ROW.format(name, _text(test[key])))
    pictures = [
        PICTURE.format(description, address(read_file(figures / name), KINDS[".png"]))
        for name, description in PICTURES.items()
        if can_be_shown(figures / name, figures.parent)
    ]
    return str(CARD.format(title, Markup("").join(rows), Markup("").join(pictures)))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
