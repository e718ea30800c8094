"""Figures: arrays become a matplotlib `Figure` or the frames of a video.

Here is what they share: colours, text as matplotlib draws it, and a figure with nothing in it yet.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#888888"  # for the colour-blind too (Okabe, Ito)
INK = "#1b1f24"  # of text on white, whatever the colours of the page
LABELS = (  # Petroff, "Accessible color sequences for data visualization", 2021, arXiv 2107.02270
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip


def plain(text: str) -> str:
    """Return text that matplotlib draws as it is: no formula between dollars, no control characters."""
    readable = "".join(c if c.isprintable() else " " for c in text)
    return readable.replace("$", r"\$")


def blank(width: float, height: float, x: str = "", y: str = "") -> tuple[Figure, Axes]:
    """Return a figure of so many inches, and its axes with their labels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(subplot_kw={"xlabel": x, "ylabel": y})
