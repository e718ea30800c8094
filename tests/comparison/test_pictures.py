"""Runs side by side in pictures."""

from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch

from pyro_vae.cli.main import main
from pyro_vae.comparison.pictures import common_codes, pictures
from pyro_vae.pages.frame import png_bytes
from tests.support import seams
from tests.support.made_up import group_of, make_up_run
from tests.support.pages import Page

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_codes_of_two_sizes_share_their_components():
    small, large = common_codes(3), common_codes(20)
    assert torch.equal(small, large[:, :3]) and small.shape == (8, 3)
    assert common_codes(4096).std().item() == pytest.approx(1, abs=0.02)  # 5 standard errors


@pytest.mark.slow
def test_each_setting_is_shown_once_with_a_link_to_its_report(copy_run):
    for seed in (0, 1):
        copy_run(f"x/a b{seed}", seed=seed)
    with_pictures = copy_run("x/c#", beta=4.0) / "figures"
    with_pictures.mkdir(exist_ok=True)
    (with_pictures / "samples.png").write_bytes(png_bytes(np.zeros((1, 1, 3))))
    (with_pictures / "limiting_distribution.mp4").write_bytes(b"video")
    assert main(["compare", "x", "--out", "page"]) == 0
    page = Page("page/report.html")
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    places = [Path("page", unquote(link)) for link in links]
    assert len(links) == 3 + 2 + 2 and all(place.exists() for place in places)
    every = [a["alt"] for tag, a in page.tags if tag == "img"]
    shown = [a["alt"] for tag, a in page.tags if tag == "img" and a["class"] == "png"]
    assert sum(alt.startswith("reconstructions by") for alt in shown) == 2
    assert [alt for alt in shown if "64 codes" in alt] == ["64 codes of beta 4"]
    assert every.count("rate of each latent component") == 2
    assert page.count("video") == 1
    assert "Side by side" in page.text and "Samples and components" in page.text


def test_runs_without_weights_or_data_have_no_pictures(monkeypatch):
    seams.draw_no_curves(monkeypatch.setattr)
    make_up_run("x/a")
    make_up_run("x/b", seed=1)
    assert pictures(group_of("x"), Path("x")) is None
    monkeypatch.setattr("pyro_vae.comparison.pictures.load_data_again", _gone)
    assert pictures(group_of("x"), Path("x")) is None
    assert main(["compare", "x"]) == 0
    page = Page("x/report.html")
    assert "Side by side" not in page.text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["a/report.html", "b/report.html"], "from where the page lies"


def _gone(config):
    raise OSError("dataset: there is none")
