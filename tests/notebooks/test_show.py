"""The pages of the notebooks: what the command writes, and that those kept belong to the notebooks."""

import base64
import io
import re

import nbformat
import numpy as np
import pytest
from PIL import Image

import show
from tests.support.house import ROOT

MOST = 1_500_000  # bytes of all pictures, which everybody downloads
TABLES = "results/README.md", "results/digits/tables.md"


def png():
    """A picture of a thousand colours."""
    noise = np.random.default_rng(0).integers(256, size=(40, 40, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "png")
    return content.getvalue()


def output(**content):
    return nbformat.v4.new_output(
        "display_data", {k.replace("_", "/"): v for k, v in content.items()}
    )


def test_a_page_has_text_figures_and_answer_and_no_code(tmp_path):
    table = '<table border="1" class="dataframe"><tr><td>1.5</td></tr></table>'
    code = nbformat.v4.new_code_cell("secret = 1")
    code.outputs = [
        nbformat.v4.new_output("stream", text="chatter"),
        output(image_png=base64.b64encode(png()).decode()),
        output(text_markdown=f"It is\n\n{table}"),
    ]
    (tmp_path / "some_9.png").write_bytes(b"of an earlier version")
    page = show.Page("some", "small")
    page.add(nbformat.v4.new_markdown_cell("# Is it so?\n\nYes."))
    page.add(nbformat.v4.new_markdown_cell("## Curves\n\nThey fall."))
    page.add(code)
    page.write(tmp_path)
    text = (tmp_path / "some.md").read_text()
    assert text.startswith("# Is it so?\n\n*What [some.ipynb](../some.ipynb) shows in its small")
    assert "They fall.\n\n![Curves](some_1.png)\n\nIt is\n\n<div" in text and "<td>1.5</td>" in text
    assert "secret" not in text and "chatter" not in text and "dataframe" not in text
    assert [path.name for path in tmp_path.glob("*.png")] == ["some_1.png"]
    colours = Image.open(tmp_path / "some_1.png").convert("RGB").getcolors()
    assert len(colours) <= show.COLOURS


@pytest.mark.parametrize("name", show.NAMES)
def test_the_page_that_is_kept_is_of_the_notebook_of_today(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    text = (show.SHOWN / f"{name}.md").read_text()
    written = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for heading in re.findall(r"^#+ .*", written, re.M):
        assert heading in text
    pictures = re.findall(r"^!\[.+\]\((\w+\.png)\)$", text, re.M)
    assert sorted(pictures) == sorted(p.name for p in show.SHOWN.glob(f"{name}_*.png")) != []


@pytest.mark.parametrize("name", show.NAMES)
def test_a_notebook_opens_with_an_answer_whose_numbers_it_found(name):
    """Or with numbers of the results, where an experiment took hours."""
    first = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells[0].source
    answer = first.partition("**Answer.**")[2].partition("\n\n")[0]
    found = (show.SHOWN / f"{name}.md").read_text().rpartition("## Answer")[2]
    found += "".join((ROOT / table).read_text() for table in TABLES)
    numbers = set(re.findall(r"\d+\.\d+", answer))
    assert len(numbers) >= 2 and numbers <= set(re.findall(r"\d+\.\d+", found))


@pytest.mark.parametrize("page", ["notebooks/README.md", "docs/course.md"])
def test_numbers_with_errors_stand_in_what_is_shown(page):
    known = [path.read_text() for path in show.SHOWN.glob("*.md")]
    known += [(ROOT / name).read_text() for name in (*TABLES, "benchmarks/mnist.md")]
    numbers = re.findall(r"\d+\.\d+ ± \d+\.\d+", (ROOT / page).read_text())
    assert numbers and [n for n in numbers if not any(n in text for text in known)] == []


def test_pictures_are_small():
    assert sum(path.stat().st_size for path in show.SHOWN.iterdir()) < MOST
