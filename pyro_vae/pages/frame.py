"""The frame of every page: HTML without other files, rendered from templates."""

import base64
import io
import re
from pathlib import Path
from typing import NamedTuple

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from pyro_vae.figures.one_run import BLUE, ORANGE

TEMPLATES = Environment(
    loader=PackageLoader("pyro_vae", "pages/templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Drawing(NamedTuple):
    """A picture as the markup of a page, and the caption under it."""

    markup: Markup
    caption: str = ""


class Section(NamedTuple):
    """A heading, what to look for, and the drawings, side by side or in a strip that scrolls."""

    title: str
    look: str
    drawings: list[Drawing]
    layout: str = "plots"  # or `strip`, or `single`


def render(template: str, **values: object) -> str:
    """Return the page of a template; all text in `values` is escaped."""
    return TEMPLATES.get_template(template).render(**values)


def image(path: Path, description: str) -> Markup:
    """Return the PNG file as an image inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(description, data)


def video(path: Path) -> Markup:
    """Return the MP4 file as a video inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    source = Markup("data:video/mp4;base64,{}").format(data)
    return Markup('<video controls loop muted playsinline src="{}"></video>').format(source)


def svg(figure: Figure, description: str) -> Markup:
    """Return the figure as inline SVG, with lines and text in the page's colours."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawn = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue(), flags=re.S)
    drawn = drawn[drawn.index("<svg") :].replace("#000000", "currentColor")
    drawn = drawn.replace(BLUE, "var(--blue)").replace(ORANGE, "var(--orange)")
    opening = Markup('<svg role="img" aria-label="{}"').format(description)
    return Markup(drawn.replace("<svg", opening, 1))  # matplotlib has escaped its text
