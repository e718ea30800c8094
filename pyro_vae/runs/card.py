"""How a run is shown in a notebook: what was set, how it ended, and pictures of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pyro_vae.pages.frame import image

PICTURES = {"reconstructions.png": "Reconstructions", "samples.png": "Samples"}
FIGURES = {  # of `summary.json`, by their names on the card
    "elbo_nats": "test ELBO, nats per image",
    "rate_nats": "rate",
    "distortion_nats": "distortion",
    "bits_per_dim": "bits per dimension",
    "active_units": "active components",
}
ROW = Markup("<tr><th>{}</th><td>{}</td></tr>")
CARD = Markup("<div><h4>{}</h4><table>{}</table>{}</div>")


def run_card(
    title: str, settings: Mapping[str, Any], test: Mapping[str, Any] | None, figures: Path
) -> str:
    """Return HTML without scripts: a table of settings and figures, and the pictures that are there.

    Args:
        title: the heading.
        settings: the settings to show, by name.
        test: the figures of the test images in `summary.json`, or None before the run is finished.
        figures: the folder of the run's pictures.
    """
    rows = [ROW.format(name, _text(value)) for name, value in settings.items()]
    for key, name in FIGURES.items():
        if test is not None and test.get(key) is not None:
            rows.append(ROW.format(name, _text(test[key])))
    pictures = [
        image(figures / name, description)
        for name, description in PICTURES.items()
        if (figures / name).exists()
    ]
    return str(CARD.format(title, Markup("").join(rows), Markup("").join(pictures)))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
