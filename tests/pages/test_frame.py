"""The frame of every page: what is drawn stays inside, and text stays text."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure
from PIL import Image

from pyro_vae.figures import BLUE
from pyro_vae.pages.frame import TEMPLATES, Drawing, Section, drawn, image, png, render, svg, video
from tests.support.pages import Page

NASTY = "<b>&\"'"


def run_page(**values):
    """The page of a run with next to nothing on it."""
    empty = dict.fromkeys(
        ("generator", "title", "unfinished", "words", "command", "still_open"), ""
    )
    lists = ("cards", "cautions", "judgements", "settings", "figures", "progress", "measured")
    empty |= {key: [] for key in lists} | {"autoencoder": False}
    return render("run.html", **(empty | values))


def test_text_is_escaped_and_markup_is_not():
    drawing = Drawing(drawn(Figure(), NASTY), caption=NASTY)
    section = Section(NASTY, NASTY, [drawing])
    part = {"section": section, "rows": [], "terms": {}}
    page = Page(run_page(title=NASTY, words=NASTY, cautions=[NASTY], measured=[part]))
    assert page.count("b") == 0 and page.count("img") == 1
    # Twice the title; words, caution, heading, look and caption.
    assert page.text.count(NASTY) == 2 + 5
    (picture,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert picture["alt"] == NASTY


def test_a_value_that_a_template_misses_is_an_error():
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render("frame.html", generator="tests")


@pytest.mark.parametrize("name", ["run.html", "comparison.html"])
def test_pages_extend_the_frame_and_escape(name):
    assert TEMPLATES.autoescape is True
    source, *_ = TEMPLATES.loader.get_source(TEMPLATES, name)
    assert source.startswith('{% extends "frame.html" %}') and "safe" not in source


def test_a_figure_follows_the_colour_scheme_of_its_reader():
    figure = Figure()
    figure.add_subplot().plot([1, 2], color=BLUE)
    written = svg(figure)
    ElementTree.fromstring(written)  # well-formed
    light, dark = written.split("@media(prefers-color-scheme:dark)")
    assert f"--blue:{BLUE}" in light and "--blue:#56b4e9" in dark
    assert "stroke: var(--blue)" in dark and BLUE not in dark and "<metadata>" not in written
    assert written == svg(figure)  # and alike each time


def test_pictures_stand_in_the_page(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    content = base64.b64encode(b"picture").decode()
    expected = f'<img class="png" alt="a &lt;b&gt;" src="data:image/png;base64,{content}">'
    assert image(tmp_path / "a.png", "a <b>") == expected
    (tmp_path / "a.mp4").write_bytes(b"moving picture")
    content = base64.b64encode(b"moving picture").decode()
    assert f'src="data:video/mp4;base64,{content}"' in video(tmp_path / "a.mp4")
    assert "poster" not in video(tmp_path / "a.mp4")
    poster = base64.b64encode(b"picture").decode()
    shown = video(tmp_path / "a.mp4", tmp_path / "a.png")
    assert f'poster="data:image/png;base64,{poster}"' in shown


def test_an_array_stands_in_the_page_as_its_pixels():
    picture = np.random.default_rng(0).integers(256, size=(3, 4, 3)) / 255
    content = re.search('base64,([^"]+)', png(picture, "noise")).group(1)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert np.array_equal(shown / 255, picture)
