"""How a run is shown: in a line, and in a notebook."""

from pathlib import Path

import pytest
from PIL import Image

import pyro_vae as pv
from pyro_vae.runs.card import PICTURES, run_card
from tests.support.pages import Page
from tests.support.runs import quick


def read(html):
    """A card as a page that has been read."""
    Path("card.html").write_text(html)
    return Page(Path("card.html"))


@pytest.mark.slow
def test_a_run_is_shown_in_a_line_and_on_a_card(elsewhere):
    run = pv.train(quick(beta=2), "a")
    elbo = run.summary["test"]["elbo_nats"]
    assert repr(run) == (
        "Run('a', digits, gaussian_shared_sigma, beta 2, 2 latents, 2 epochs,"
        f" test ELBO {elbo:.2f})"
    )
    page = read(run._repr_html_())
    assert repr(run) in page.text and f"{elbo:.4g}" in page.text
    for name, value in {"dataset": "digits", "beta": "2", "hidden": "(8,)", "epochs": "2"}.items():
        assert f"{name}{value}" in page.text.replace(" ", "").replace("\n", "")
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [attributes["alt"] for attributes in pictures] == list(PICTURES.values())
    assert all(attributes["src"].startswith("data:image/png;base64,") for attributes in pictures)


@pytest.mark.slow
def test_an_unfinished_run_and_one_without_an_elbo(elsewhere, no_pictures):
    run = pv.train(quick(model="autoencoder"), "a")
    assert repr(run) == "Run('a', digits, autoencoder, beta 1, 2 latents, 2 epochs)"
    Path("a/summary.json").unlink()
    unfinished = pv.load_run("a")
    assert repr(unfinished).endswith("2 latents, unfinished after 2 of 2 epochs)")
    page = read(unfinished._repr_html_())
    assert "unfinished" in page.text and "distortion" not in page.text
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_what_a_user_typed_is_escaped(elsewhere):
    figures = Path("figures")
    figures.mkdir()
    Image.new("L", (2, 2)).save(figures / "samples.png")
    card = run_card("<script>1</script>", {"dataset": "<b>&'x"}, {"rate_nats": None}, figures)
    assert "&lt;script&gt;" in card and "&lt;b&gt;&amp;" in card
    assert "<script" not in card and "<b>" not in card and "rate" not in card
    assert card.count("<img") == 1
