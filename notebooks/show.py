"""Runs the notebooks and writes what they show: `python notebooks/show.py`.

Each notebook becomes a page `shown/NAME.md` of its text, figures and answer, without its code. The
notebooks run in their small setting, on images that come with the package; `--full` runs them as they
are, which takes hours. `--only latent_space choosing_beta` runs some of them.
"""

import argparse
import base64
import io
import os
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

from pyro_vae.files import replace_file

HERE = Path(__file__).parent
SHOWN = HERE / "shown"
NAMES = sorted(path.stem for path in HERE.glob("*.ipynb"))
COLOURS = 64  # of a picture, so that its file stays small
TABLE = re.compile(r'<table border="1" class="dataframe">(.*?)</table>', re.S)
SCROLLS = r'<div class="table-wrapper"><table class="docutils">\1</table></div>'
SETTINGS = {
    "small": "in its small setting, on images that come with the package",
    "full": "in its full setting",
}


def executed(name: str) -> nbformat.NotebookNode:
    """Return a notebook with its outputs; its runs and results are kept in `runs/`."""
    notebook = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    place = {"metadata": {"path": str(HERE)}}
    return NotebookClient(notebook, timeout=None, resources=place).execute()


class Page:
    """The page of a notebook, to which cells are added."""

    def __init__(self, name: str, setting: str) -> None:
        self.name, self.heading = name, name
        self.parts: list[str] = []
        self.pictures: list[bytes] = []
        self.about = f"*What [{name}.ipynb](../{name}.ipynb) shows {SETTINGS[setting]}.*"

    def add(self, cell: nbformat.NotebookNode) -> None:
        """Add the text of a cell, or the figures and the answer that it gave."""
        if cell.cell_type == "markdown":
            self.parts.append(cell.source.replace("](../", "](../../"))  # from the folder of pages
            if headings := re.findall(r"^#+ (.*)", cell.source, re.M):
                self.heading = headings[-1]
            return
        for output in cell.outputs:
            content = output.get("data", {})
            if "image/png" in content:
                self._add_picture(base64.b64decode(content["image/png"]))
            elif "text/markdown" in content:
                self.parts.append(TABLE.sub(SCROLLS, content["text/markdown"]))

    def _add_picture(self, png: bytes) -> None:
        self.pictures.append(compressed(png))
        number = len(self.pictures)
        self.parts.append(f"![{self.heading}]({self.name}_{number}.png)")

    def write(self, folder: Path) -> None:
        """Write the page and its pictures, in place of what the folder has of this notebook."""
        for old in folder.glob(f"{self.name}_*.png"):
            old.unlink()
        for number, picture in enumerate(self.pictures, 1):
            replace_file(folder / f"{self.name}_{number}.png", picture)
        title, _, rest = "\n\n".join(self.parts).lstrip().partition("\n")
        text = f"{title}\n\n{self.about}\n{rest}\n"
        replace_file(folder / f"{self.name}.md", text.encode())


def compressed(png: bytes) -> bytes:
    """Return a picture with few colours."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the full setting, for hours")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    asked = parser.parse_args()
    setting = "full" if asked.full else "small"
    os.environ["PYRO_VAE_NOTEBOOKS"] = setting
    SHOWN.mkdir(exist_ok=True)
    for name in asked.only:
        begun = time.perf_counter()
        page = Page(name, setting)
        for cell in executed(name).cells:
            page.add(cell)
        page.write(SHOWN)
        took, size = time.perf_counter() - begun, sum(map(len, page.pictures)) / 1000
        print(f"{name}: {len(page.pictures)} pictures, {size:.0f} kB, {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
