"""Which settings of a comparison differ, on the same images and over seeds."""

import json
from pathlib import Path

import numpy as np
import pytest

from pyro_vae.cli.main import main
from pyro_vae.comparison.settings import matrix_of
from pyro_vae.evaluation.significance import all_differences
from pyro_vae.measures.part import VERSION
from tests.support.made_up import group_of, make_up_images, make_up_run, make_up_settings
from tests.support.pages import Page

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def found(folder="x"):
    return matrix_of(group_of(folder))


def test_a_planted_difference_holds_and_a_setting_entered_twice_does_not():
    """Betas 1 and 2 have the same mean, beta 3 is better by half a nat; images differ by 5 nats."""
    matrix = found(make_up_settings("x", [0.0, 0.0, 0.5]))
    assert matrix.settings[0].name == "beta 3" and len(matrix.settings) == 3
    assert matrix.holds(0, 1) and matrix.holds(0, 2) and not matrix.holds(1, 2)
    difference = matrix.differences[0][1]
    assert difference.mean == pytest.approx(0.5, abs=0.2) and difference.standard_error < 0.1
    assert matrix.differences[1][0].mean == -difference.mean


def test_a_single_image_tells_nothing_of_new_images():
    make_up_settings("x", [0.0, 0.5], images=1)
    assert main(["compare", "x"]) == 0 and "Which settings differ" not in Page("x/report.html").text


def test_validation_images_come_before_test_images():
    make_up_settings("x", [0.0, 1.0], splits=("test", "validation"))
    assert found().source.name == "the importance bound of validation images"
    for path in Path("x").iterdir():
        arrays = dict(np.load(path / "per_image.npz"))
        np.savez(path / "per_image.npz", **{k: v for k, v in arrays.items() if "test" in k})
    assert found().source.name == "the importance bound of test images"


def leave_an_evaluation(path, checkpoint=None, nats=-50.0, bias=0.0, file="likelihood.csv"):
    """Leave what `evaluate --only likelihood` leaves of a run."""
    part = {"images": 20, "quick": True, "checkpoint": checkpoint, "measures": VERSION}
    (path / "evaluation.json").write_text(json.dumps({"likelihood": part}))
    rows = "".join(f"{n},{nats - n},{bias}\n" for n in range(20))
    names = "image,ais_from_posterior,ais_from_posterior_bias"
    (path / file).write_text(f"{names}\n{rows}")


def test_annealing_comes_before_a_bound():
    make_up_settings("x", [0.0, 1.0])
    for path in Path("x").iterdir():
        leave_an_evaluation(path)
    assert found().source.name == "AIS of test images"
    assert found().settings[0].values.mean() > -70
    for path in Path("x").iterdir():
        leave_an_evaluation(path, file="validation_likelihood.csv")
    assert found().source.name == "AIS of validation images"


def test_annealing_of_fewer_images_is_not_paired():
    make_up_settings("x", [0.0, 1.0])
    for path in Path("x").iterdir():
        leave_an_evaluation(path)
    table = Path("x/0-0/likelihood.csv")
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:10]))
    assert found().source.name == "the importance bound of test images"


@pytest.mark.slow
@pytest.mark.parametrize("bias, holds", [(0.0, True), (0.4, True), (1.2, False)])
def test_the_bias_of_annealing_is_no_difference(bias, holds):
    """One setting is 2 nats lower in every image and seed, as chains with such a bias would be."""
    make_up_settings("x", [0.0, 2.0], seeds=5)
    for number, path in enumerate(sorted(Path("x").iterdir())):
        setting, seed = map(int, path.name.split("-"))
        nats = -50 + 2.0 * setting + 0.01 * seed + 0.001 * number
        leave_an_evaluation(path, nats=nats, bias=0.0 if setting else bias)
    matrix = found()
    assert matrix.holds(0, 1) is holds
    of_chance = all_differences([setting.values for setting in matrix.settings])[0][1]
    error = of_chance.standard_error + bias
    assert matrix.differences[0][1].standard_error == pytest.approx(error, rel=1e-12)  # rounding
    assert main(["compare", "x"]) == 0
    text = " ".join(Page("x/report.html").text.split())
    assert "of the same 20 images by AIS of test images" in text


def test_annealing_of_earlier_weights_does_not_count():
    make_up_settings("x", [0.0, 1.0])
    for path in Path("x").iterdir():
        leave_an_evaluation(path, checkpoint="of other weights")
        (path / "checkpoints").mkdir()
        (path / "checkpoints/last.pt").write_bytes(b"the weights now")
    assert found().source.name == "the importance bound of test images"


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("likelihood.csv", "", "is no table of bounds"),
        ("likelihood.csv", "image,elbo\n0,1\n", "is no table of bounds"),
        ("likelihood.csv", "image,ais_from_posterior\n0,x\n", "is no table of bounds"),
        ("likelihood.csv", "image,ais_from_posterior\n0,\n", "is no table of bounds"),
        ("per_image.npz", "PK\x03\x04", "holds no measures of images"),
    ],
)
def test_a_damaged_file_is_named(file, content, message, capsys):
    make_up_settings("x", [0.0, 1.0])
    for path in Path("x").iterdir():
        leave_an_evaluation(path)
    Path("x/0-0", file).write_text(content)
    assert main(["compare", "x"]) == 2
    error = capsys.readouterr().err
    assert f"x/0-0/{file} {message}" in error and error.count("\n") == 1


def test_what_cannot_be_paired_has_no_matrix():
    """Runs without measures of images, a single setting, and other images."""
    for seed in (0, 1):
        make_up_run(f"none/{seed}", beta=seed + 1.0)
    make_up_settings("single", [0.0])
    make_up_settings("other", [0.0, 1.0])
    make_up_images("other/0-0", np.zeros(400), mark=2)
    assert [found(folder) for folder in ("none", "single", "other")] == [None] * 3
    assert main(["compare", "none"]) == 0
    assert "Which settings differ?" not in Page("none/report.html").text


def test_the_page_shows_the_matrix():
    make_up_settings("x", [0.0, 0.0, 0.5], splits=("test", "validation"))
    assert main(["compare", "x"]) == 0
    page = Page("x/report.html")
    assert "Which settings differ?" in page.text
    assert "The matrix of settings does. Look also at" in " ".join(page.text.split())
    words = " ".join(page.text.split())
    assert "Chosen on validation images: beta 3. Its test images have -9" in words
    assert "pyro-vae evaluate --only likelihood" in page.text, "the bound is looser for small betas"
    framed = [a for tag, a in page.tags if tag == "td" and "holds" in (a.get("class") or "")]
    assert len(framed) == 2, "of three pairs"


def test_one_seed_each_has_differences_without_errors():
    make_up_settings("x", [0.0, 5.0], seeds=1)
    assert not found().holds(0, 1) and found().differences[0][1].mean > 4
    assert main(["compare", "x"]) == 0
    text = Page("x/report.html").text
    assert "A setting with a single seed has no error here" in text
    assert "Ranked on test images" in text
