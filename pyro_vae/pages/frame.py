"""The frame of every page that the package writes: HTML that needs nothing beside it."""

import base64
import io
import re
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pyro_vae.figures.one_run import BLUE, ORANGE

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --page: #fff; --card: #f4f6f8;
  --line: #d1d9e0; --blue: #0072b2; --orange: #d55e00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --page: #0f1419;
  --card: #1a212a; --line: #333d48; --blue: #56b4e9; --orange: #ff8f3f } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 75rem; padding: 1rem; color: var(--ink); background: var(--page);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
p { margin: .5rem 0; max-width: 45rem } .look { color: var(--soft) }
.numbers, .plots { display: grid; gap: .8rem; margin: .8rem 0 }
.numbers { grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)) }
.numbers div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem }
.numbers b { display: block; font-size: 1.25rem } .numbers span { color: var(--soft); font-size: .85rem }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)) }
.plots > :only-child { max-width: 38rem }
.plots > * { background: var(--card); border-radius: .5rem; padding: .5rem }
svg { display: block; width: 100%; height: auto; max-width: 32rem; margin: auto }
svg text { fill: currentColor }
img { display: block; max-width: 100%; height: auto; margin: auto; background: #fff;
  border-radius: .5rem }
figure { margin: 0 } figcaption { color: var(--soft); font-size: .9rem; padding: .4rem }
video { display: block; width: min(30rem, 100%); margin: 1rem auto; border-radius: .5rem }
.strip { display: flex; gap: .8rem; overflow-x: auto; padding-bottom: .6rem }
.strip img { height: 15rem; max-width: none; margin: 0 }
table { border-collapse: collapse; font-size: .9rem } td, th { text-align: left; vertical-align: top;
  padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid var(--line) }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
pre { background: var(--card); border-radius: .5rem; padding: .8rem; overflow-x: auto }
summary { cursor: pointer }
.wide { overflow-x: auto; margin: .8rem 0 } .wide th, .wide td { padding-right: .8rem }
.wide td { white-space: nowrap } .wide th { overflow-wrap: normal; vertical-align: bottom }
td.name { font-weight: 600 } th.number { text-align: right }
th span { font-weight: normal; white-space: nowrap }
"""


def page(title: str, body: str, generator: str = "pyro-vae") -> str:
    """A whole page, light or dark as the reader's machine is, for phones and for desks."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="{escape(generator)}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, look: str, content: str) -> str:
    """A heading, what to look for, and what there is to see."""
    return f'<h2>{escape(title)}</h2>\n<p class="look">{escape(look)}</p>\n{content}'


def plots(pictures: list[str]) -> str:
    """Pictures side by side, as many as the screen is wide."""
    return '<div class="plots">' + "".join(f"<div>{p}</div>" for p in pictures) + "</div>"


def image(path: Path, description: str) -> str:
    """The PNG itself, inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'


def svg(figure: Figure, description: str) -> str:
    """The figure inline, its lines and letters in the page's colour."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawn = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue(), flags=re.S)
    drawn = drawn[drawn.index("<svg") :].replace("#000000", "currentColor")
    drawn = drawn.replace(BLUE, "var(--blue)").replace(ORANGE, "var(--orange)")
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)
