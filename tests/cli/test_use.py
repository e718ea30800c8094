"""The commands that use a trained model on images: what they write is what `Run` returns."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.figures.images import reconstruction_grid
from pyro_vae.pages.frame import png_bytes
from tests.support.runs import quick


@pytest.fixture
def run(copy_run):
    """The run `a` on the digits."""
    return pv.load_run(copy_run())


def pictures(count, mode="L", size=(8, 8)):
    """A folder `p` with two classes of pictures; of grey ones all pixels are levels of 17."""
    for n in range(count):
        place = Path("p", "ab"[n % 2], f"{n}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, n).save(place)


def table(path):
    """The rows of a table."""
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_codes_are_written_with_labels(run, capsys, digits):
    assert main(["encode", "a", "digits:test", "--out", "c.npz"]) == 0
    said, codes = capsys.readouterr(), run.encode(digits.test.images)
    assert said.out == "360 images: mean, scale, labels in c.npz\n" and said.err == ""
    written = np.load("c.npz")
    assert (written["mean"] == codes.mean.numpy()).all()
    assert (written["scale"] == codes.scale.numpy()).all()
    assert (written["labels"] == digits.test.labels.numpy()).all()


def test_codes_of_pictures_have_the_names_of_their_files(run, capsys):
    pictures(3)
    assert main(["encode", "a", "p", "--out", "c.npz"]) == 0
    assert capsys.readouterr().out == "3 images: mean, scale, labels, names in c.npz\n"
    assert np.load("c.npz")["names"].tolist() == ["a/0.png", "a/2.png", "b/1.png"]


@pytest.mark.slow
def test_codes_of_a_point_have_no_scale(copy_run, capsys):
    copy_run(model="autoencoder")
    assert main(["encode", "a", "digits:test", "--out", "c.npz"]) == 0
    assert sorted(np.load("c.npz")) == ["labels", "mean"]
    assert "There is no scale: the posterior of this run is a point." in capsys.readouterr().out
    assert main(["score", "a", "digits:test", "--out", "s.csv"]) == 2
    error = "pyro-vae: score: autoencoder gives such images no probability\n"
    assert capsys.readouterr().err == error


def test_reconstructions_are_an_array_a_picture_or_pictures(run, capsys, digits):
    pictures(3)
    x = run.read("p").images
    found = run.reconstruct(x, seed=2).numpy()
    for out in ("r.npy", "r.png", "r"):
        assert main(["reconstruct", "a", "p", "--seed", "2", "--out", out]) == 0
        assert capsys.readouterr().out == f"3 of 3 images in {out}\n"
    assert (np.load("r.npy") == found).all()
    assert Path("r.png").read_bytes() == png_bytes(reconstruction_grid(x.numpy(), found))
    names = ["00000_0.png", "00001_2.png", "00002_1.png"]
    assert sorted(path.name for path in Path("r").iterdir()) == names
    for name, image in zip(names, found):
        pixels = np.asarray(Image.open(f"r/{name}"))
        assert (pixels == (255 * image[0]).round()).all()
    assert main(["reconstruct", "a", "digits:test", "--out", "first.png"]) == 0
    assert capsys.readouterr().out == "64 of 360 images in first.png\n"


def test_pictures_in_colour_are_written_in_colour(elsewhere, no_pictures):
    x = np.random.default_rng(0).integers(256, size=(9, 4, 4, 3), dtype=np.uint8)
    np.save("x.npy", x)
    run = pv.train(quick(dataset="x.npy", epochs=1), "b")
    assert main(["reconstruct", "b", "x.npy", "--out", "r"]) == 0
    found = run.reconstruct("x.npy").numpy()
    for n, image in enumerate(found):
        pixels = np.asarray(Image.open(f"r/{n:05d}.png"))
        assert (pixels == (255 * image.transpose(1, 2, 0)).round()).all()


def test_scores_are_written_by_name(run, capsys):
    pictures(3)
    assert main(["score", "a", "p", "--samples", "9", "--out", "s.csv"]) == 0
    scores, rows = run.score("p", 9), table("s.csv")
    assert [row["image"] for row in rows] == ["a/0.png", "a/2.png", "b/1.png"]
    columns = {"log_prob_nats": "log_prob"} | {n: n for n in scores._fields[1:]}
    assert list(rows[0]) == ["image", *columns]
    for column, name in columns.items():
        written = torch.tensor([float(row[column]) for row in rows], dtype=torch.float64)
        assert torch.equal(written.to(getattr(scores, name)), getattr(scores, name)), column
    rare = int((scores.rank <= 0.05).sum())
    expected = f"{rare} of them are less likely than 95% of the run's test images"
    assert capsys.readouterr().out.splitlines() == ["3 images in s.csv", expected]
    assert main(["score", "a", "digits:test", "--samples", "9", "--out", "t.csv"]) == 0
    ranks = [float(row["rank"]) for row in table("t.csv")]
    assert sorted(round(361 * rank) for rank in ranks) == list(range(2, 362))


def test_pictures_of_another_size_come_with_their_conversion(run, capsys):
    pictures(2, "RGB", (64, 64))
    assert main(["score", "a", "p", "--out", "s.csv"]) == 2
    conversion = "got 3x64x64 in p; Pillow converts pictures: picture.convert('L').resize((8, 8))\n"
    assert capsys.readouterr().err.endswith(conversion)
    assert not Path("s.csv").exists()


def test_a_run_converts_new_pictures_as_those_that_it_was_trained_on(elsewhere, no_pictures):
    pictures(6, "RGB", (64, 40))
    run = pv.train(quick(dataset="p", image_size=4, channels=1, train_images=4, epochs=1), "b")
    assert run.vae.image_shape == (1, 4, 4)
    assert main(["encode", "b", "p", "--out", "c.npz"]) == 0
    assert np.load("c.npz")["mean"].shape == (6, 2)
    assert [len(run.read(f"p:{part}").images) for part in ("train", "test")] == [4, 1]
    array = run.read("p").images
    np.save("x.npy", array.numpy())
    assert torch.equal(run.read("x.npy").images, array)
    with pytest.raises(ValueError, match="channels: expected 1 or 3, got 2"):
        quick(channels=2)


def test_a_picture_shows_missing_pixels_in_grey(run, digits):
    x = digits.test.images[:8, 0].clone()
    x[:, :4] = torch.nan
    np.save("x.npy", x.numpy())
    assert main(["reconstruct", "a", "x.npy", "--out", "r.png"]) == 0
    shown = reconstruction_grid(
        x[:, None].nan_to_num(0.5).numpy(), run.reconstruct("x.npy").numpy()
    )
    assert Path("r.png").read_bytes() == png_bytes(shown)
    assert main(["encode", "a", "x.npy", "--out", "c.npz"]) == 0
    assert np.isfinite(np.load("c.npz")["mean"]).all()
    assert main(["score", "a", "x.npy", "--samples", "9", "--out", "s.csv"]) == 0
    assert {row["rank"] for row in table("s.csv")} == {"nan"}
