"""The frame of every page: what is drawn stays inside, and text stays text."""

import base64

import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from pyro_vae.figures.one_run import BLUE
from pyro_vae.pages.frame import TEMPLATES, Drawing, Section, image, render, svg, video
from tests.support.pages import Page

NASTY = "<b>&\"'"


def run_page(**values):
    """The page of a run with next to nothing on it."""
    empty = {"generator": "tests", "title": "a run", "unfinished": "", "words": "", "command": ""}
    empty |= {key: [] for key in ("cards", "judgements", "settings", "sections", "measured")}
    return render("run.html", **(empty | values))


def test_text_is_escaped_and_markup_is_not():
    drawing = Drawing(svg(Figure(), NASTY), caption=NASTY)
    page = Page(run_page(title=NASTY, words=NASTY, sections=[Section(NASTY, NASTY, [drawing])]))
    assert page.count("b") == 0 and page.count("svg") == 1
    assert page.text.count(NASTY) == 2 + 4  # twice the title; words, heading, look and caption
    (drawn,) = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert drawn["aria-label"] == NASTY


def test_a_value_that_a_template_misses_is_an_error():
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render("frame.html", generator="tests")


@pytest.mark.parametrize("name", ["run.html", "comparison.html"])
def test_pages_extend_the_frame_and_escape(name):
    assert TEMPLATES.autoescape is True
    source, *_ = TEMPLATES.loader.get_source(TEMPLATES, name)
    assert source.startswith('{% extends "frame.html" %}') and "safe" not in source


def test_a_figure_is_drawn_in_the_colours_of_the_page():
    figure = Figure()
    figure.add_subplot().plot([1, 2], color=BLUE)
    drawn = svg(figure, "a line")
    assert drawn.startswith('<svg role="img" aria-label="a line"')
    assert "var(--blue)" in drawn and BLUE not in drawn and "<metadata>" not in drawn
    assert drawn == svg(figure, "a line")  # and alike each time


def test_pictures_stand_in_the_page(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    content = base64.b64encode(b"picture").decode()
    expected = f'<img alt="a &lt;b&gt;" src="data:image/png;base64,{content}">'
    assert image(tmp_path / "a.png", "a <b>") == expected
    (tmp_path / "a.mp4").write_bytes(b"moving picture")
    content = base64.b64encode(b"moving picture").decode()
    assert f'src="data:video/mp4;base64,{content}"' in video(tmp_path / "a.mp4")
