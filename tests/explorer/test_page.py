"""The page that is written: what it holds and says, and which runs it refuses."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.evaluation.paths import principal_plane
from pyro_vae.explorer.page import (
    MOST_CODES,
    MOST_IMAGES,
    MOST_PAIRS,
    about_runs,
    evenly_spaced,
    page_of,
    page_title,
    planes,
    run_titles,
)
from tests.support.explored import made_up, some_data
from tests.support.pages import Page
from tests.support.runs import quick

SMALL = {"latent_dim": 3, "hidden": (4,)}


def content_of(page):
    """The table that the page's script reads."""
    (text,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', page, re.S)
    return json.loads(text)


def numbers_of(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


# --- what the page holds ----------------------------------------------------------------------------


def test_the_page_needs_nothing_beside_it():
    data = some_data((1, 4, 4))
    text = page_of([made_up(data, **SMALL)], data)
    page = Page(text)
    assert [page.count(tag) for tag in ("link", "iframe", "img")] == [0] * 3
    assert not [attributes for _, attributes in page.tags if "src" in attributes]
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text)
    assert not re.search(r"\b(fetch|import|XMLHttpRequest)\b ?\(", text)


def test_every_control_has_a_name():
    data = some_data((3, 4, 4))
    page = Page(page_of([made_up(data, **SMALL)], data))
    for tag, attributes in page.tags:
        if tag == "canvas":
            assert attributes["role"] and attributes["aria-label"]
    assert "smooth pixels" in page.text and "brush" in page.text


def test_codes_are_the_posterior_means():
    data = some_data((1, 4, 4), count=9)
    run = made_up(data, **SMALL)
    (table,) = content_of(page_of([run], data))["runs"]
    expected = run.vae.encode(data.test.images).mean.detach().numpy()
    assert (numbers_of(table["codes"]) == expected.flatten()).all()
    assert table["importance"] == [1, 2, 3] and table["has_rate"]


def test_an_autoencoder_goes_by_the_variance_of_its_codes():
    data = some_data((1, 4, 4), count=9)
    run = made_up(data, model="autoencoder", **SMALL)
    (table,) = content_of(page_of([run], data))["runs"]
    codes = run.vae.encode(data.test.images).mean.detach()
    assert table["importance"] == pytest.approx(codes.var(0, correction=0).tolist(), rel=1e-6)
    assert table["active"] == [v > 0.01 for v in table["importance"]] and not table["has_rate"]


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_images_to_click_are_exact(levels):
    data = some_data((3, 2, 2), levels=levels)
    content = content_of(page_of([made_up(data, **SMALL)], data))
    pixels = np.frombuffer(base64.b64decode(content["image_bytes"]), np.uint8)
    found = pixels / content["image_last_level"]
    assert np.abs(found - data.test.images.flatten().numpy()).max() < 1e-7  # float32
    assert content["image_numbers"] == list(range(1, 13)) and content["levels"] == levels


def test_many_test_images_are_thinned_evenly():
    assert evenly_spaced(5, 9) == [0, 1, 2, 3, 4]
    assert evenly_spaced(101, 3) == [0, 50, 100]
    rows = evenly_spaced(10_000, MOST_CODES)
    assert len(set(rows)) == MOST_CODES and rows[0] == 0 and rows[-1] == 9_999


def test_a_page_of_many_images_shows_some_of_each():
    data = some_data((1, 2, 2), count=2500)
    page = page_of([made_up(data, **SMALL)], data)
    content = content_of(page)
    assert "The map shows 2,000 of 2,500 test images." in page
    assert len(content["labels"]) == MOST_CODES and len(content["image_labels"]) == MOST_IMAGES


@pytest.mark.parametrize("classes, there", [(30, True), (31, False)])
def test_only_so_many_classes_have_colours(classes, there):
    images = torch.rand(40, 1, 2, 2)
    split = pv.Split(images, torch.arange(40) % classes)
    data = pv.Dataset("made up", split, split, None)
    content = content_of(page_of([made_up(data, **SMALL)], data))
    assert (content["labels"] is not None) == there
    unlabelled = some_data((1, 2, 2), labels=False)
    content = content_of(page_of([made_up(unlabelled, **SMALL)], unlabelled))
    assert content["labels"] is content["image_labels"] is None


def test_text_of_the_users_own_is_escaped():
    data = some_data((1, 2, 2))
    runs = [made_up(data, dataset="./<b>.npy", **SMALL) for _ in "ab"]
    for run, name in zip(runs, "ab"):
        run.folder = Path(f"</script>{name}")
    text = page_of(runs, data)
    assert "</script>a" not in text and "<h1>Explore &lt;b&gt;: 2 runs</h1>" in text
    assert [table["title"] for table in content_of(text)["runs"]] == ["</script>a", "</script>b"]


def test_a_model_stays_as_it_was():
    data = some_data((1, 2, 2))
    run = made_up(data, precision="float64", **SMALL)
    run.vae.double().train()
    before = [p.clone() for p in run.vae.parameters()]
    page_of([run], data)
    assert run.vae.training
    assert all(torch.equal(a, b) for a, b in zip(before, run.vae.parameters(), strict=True))


# --- its words --------------------------------------------------------------------------------------


def test_runs_are_called_by_the_settings_that_differ():
    data = some_data((1, 2, 2))
    runs = [made_up(data, beta=beta, seed=0, engine=e) for beta, e in [(1, "svi"), (4, "eager")]]
    assert run_titles(runs) == ["beta 1", "beta 4"]
    assert about_runs(runs) == "2 runs, which differ in beta."
    assert page_title(runs) == "Explore digits: 2 runs"


def test_runs_that_do_not_differ_are_called_by_their_folders():
    data = some_data((1, 2, 2))
    assert run_titles([made_up(data)]) == ["made_up"]
    assert run_titles([made_up(data), made_up(data)]) == ["made_up", "made_up"]
    assert about_runs([made_up(data), made_up(data)]) == "2 runs, which differ in no setting."


def test_one_run_is_named_by_its_model():
    data = some_data((1, 2, 2))
    run = made_up(data, model="autoencoder", likelihood="laplace", latent_dim=1)
    assert page_title([run]) == "Explore digits: laplace autoencoder"
    assert about_runs([run]) == "Network mlp with 1 latent component."


# --- the planes of its map -------------------------------------------------------------------------


def names_of(latent_dim, importance=None):
    """The names of the planes of random codes."""
    importance = torch.ones(latent_dim) if importance is None else torch.tensor(importance)
    return [plane["name"] for plane in planes(torch.randn(40, latent_dim), importance)]


def test_pairs_of_components_go_by_importance():
    names = names_of(5, [0, 4, 1, 3, 2])
    assert names == ["principal components", "components 2 and 4", "components 3 and 5"]
    assert len(names_of(40)) == 1 + MOST_PAIRS


def test_a_pair_shows_its_components_and_the_first_plane_the_largest_variance():
    codes = torch.randn(40, 3)
    first, pair = planes(codes, torch.tensor([3.0, 1.0, 2.0]))
    assert pair["axes"] == [[1, 0, 0], [0, 0, 1]]
    axes, shares = principal_plane(codes)
    assert first["axes"] == axes.tolist()
    assert first["words"].endswith(f"have {shares.sum():.0%} of the variance of the codes.")


def test_few_components_have_one_plane():
    assert names_of(2) == ["components 1 and 2"] and names_of(1) == ["component 1"]
    (plane,) = planes(torch.randn(9, 1), torch.ones(1))
    assert plane["axes"] == [[1], [0]]


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def two_folders(copy_run):
    """The run folders `a` and `b`, of two betas."""
    copy_run("a")
    copy_run("b", beta=4)


@pytest.mark.slow
def test_the_command_writes_a_page_into_the_runs_folder(two_folders, capsys):
    assert main(["explore", "a"]) == 0
    size = Path("a/explore.html").stat().st_size
    assert capsys.readouterr().out == f"Open a/explore.html in a browser ({size / 1e6:.1f} MB)\n"
    assert "principal" not in content_of(Path("a/explore.html").read_text())["runs"][0]["planes"][0]
    assert pv.explore(pv.load_run("a"), "one.html") == Path("one.html")
    assert Path("one.html").read_text() == Path("a/explore.html").read_text()
    pv.train(quick(epochs=1, engine="eager"), "a", overwrite=True)
    assert not Path("a/explore.html").exists()


def test_several_runs_go_to_the_working_directory(two_folders, capsys):
    assert main(["explore", "a", "b"]) == 0
    assert "explore.html" in capsys.readouterr().out
    content = content_of(Path("explore.html").read_text())
    assert [table["title"] for table in content["runs"]] == ["beta 1", "beta 4"]


@pytest.mark.slow
def test_what_is_wrong_is_said_in_one_line(two_folders, copy_run, capsys):
    copy_run("binary", binarize="threshold")
    Path("a/summary.json").unlink()
    before = sorted(Path().rglob("*.html"))
    for arguments, message in [
        (["none"], "run: none is no run folder: it has no config.yaml"),
        (["a"], "runs: a is not finished; finish it with pyro-vae train --out a --resume"),
        (
            ["b", "binary"],
            "runs: expected runs on the same data, got binarize none in b and threshold in binary;"
            " give those of one data set",
        ),
        (["b", "--out", "b"], "out: expected the name of an .html file, got b"),
        (["b", "--out", "x.pdf"], "out: expected the name of an .html file, got x.pdf"),
        (["b", "--out", "no/x.html"], "out: there is no folder no"),
    ]:
        assert main(["explore", *arguments]) == 2
        assert capsys.readouterr().err == f"pyro-vae: {message}\n"
    assert sorted(Path().rglob("*.html")) == before


def test_no_runs():
    with pytest.raises(ValueError, match="runs: expected at least one, got none"):
        pv.explore([], "x.html")
