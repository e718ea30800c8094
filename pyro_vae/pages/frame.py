"""The frame of every page: HTML without other files, rendered from templates."""

import base64
import io
import re
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from pyro_vae.figures import BLUE, ORANGE
from pyro_vae.files import check_regular, read_file
from pyro_vae.notices import notice

COLOURS = (  # those of the pages, in the light and in the dark
    f"svg{{color:#1b1f24;--blue:{BLUE};--orange:{ORANGE}}}"
    "@media(prefers-color-scheme:dark){svg{color:#e6edf3;--blue:#56b4e9;--orange:#ff8f3f}}"
    "text{fill:currentColor}"
)

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


KINDS = {".png": "image/png", ".svg": "image/svg+xml"}


def can_be_shown(path: Path, folder: Path) -> bool:
    """Return whether a page, which people pass on, can show a file: a regular one in the folder.

    A notice tells of anything else, such as a link that leads out of the folder.
    """
    try:
        check_regular(path, within=folder)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        notice(f"figures: {error}; it is left out of the page")
        return False
    return True


def image(path: Path, description: str) -> Markup:
    """Return a PNG or SVG file as an image inside the page."""
    return _image(read_file(path), KINDS[path.suffix], description)


def drawn(figure: Figure, description: str) -> Markup:
    """Return a figure as an image inside the page."""
    return _image(svg(figure).encode(), KINDS[".svg"], description)


def png(picture: np.ndarray, description: str) -> Markup:
    """Return a picture (height, width, 3) in [0, 1] as an image inside the page."""
    return _image(png_bytes(picture), KINDS[".png"], description)


def png_bytes(picture: np.ndarray) -> bytes:
    """Return a picture (height, width, 3) in [0, 1] as a PNG file."""
    content = io.BytesIO()
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(content, format="PNG")
    return content.getvalue()


def address(content: bytes, kind: str) -> str:
    """Return the address of a file that stands in the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _image(content: bytes, kind: str, description: str) -> Markup:
    name = kind.partition("/")[2].partition("+")[0]
    shown = Markup('<img class="{}" alt="{}" src="{}">')
    return shown.format(name, description, address(content, kind))


def video(path: Path, poster: Path | None = None) -> Markup:
    """Return the MP4 file as a video inside the page, with a PNG file to show before it plays."""
    shown = Markup("")
    if poster is not None:
        shown = Markup(' poster="{}"').format(address(read_file(poster), KINDS[".png"]))
    return Markup(
        '<video controls loop muted playsinline preload="metadata"{} src="{}"></video>'
    ).format(shown, address(read_file(path), "video/mp4"))


def svg(figure: Figure) -> str:
    """Return the figure as an SVG file whose lines and text follow the reader's colour scheme."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pyro_vae"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    written = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue(), flags=re.S)
    written = written[written.index("<svg") :].replace("#000000", "currentColor")
    written = written.replace(BLUE, "var(--blue)").replace(ORANGE, "var(--orange)")
    end = written.index(">") + 1
    return f"{written[:end]}<style>{COLOURS}</style>{written[end:]}"
