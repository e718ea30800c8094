"""Figures from arrays: what is drawn is what was given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyro_vae import figures

rng = np.random.default_rng(0)


def test_tile_puts_every_image_in_its_place():
    images = rng.random((5, 1, 3, 2))
    picture = figures.tile(images, 2)
    assert picture.shape == (3 * 4 - 1, 2 * 3 - 1, 3)
    assert np.array_equal(picture[4:7, 3:5, 1], images[3, 0])
    assert (picture[8:11, 3:5] == 1).all()  # no sixth image: white
    colour = rng.random((1, 3, 3, 2))
    assert np.array_equal(figures.tile(colour, 1), colour[0].transpose(1, 2, 0))


def test_originals_stand_over_their_reconstructions():
    originals, reconstructions = rng.random((2, 16, 1, 4, 4))
    axes = figures.reconstruction_grid(originals, reconstructions).axes[0]
    shown = axes.images[0].get_array()
    assert np.array_equal(shown[0:4, 0:4, 0], originals[0, 0])
    assert np.array_equal(shown[5:9, 0:4, 0], reconstructions[0, 0])
    assert np.array_equal(shown[10:14, 0:4, 0], originals[8, 0])


def labelled(figure):
    assert isinstance(figure, Figure)
    return all(a.get_xlabel() and a.get_ylabel() for a in figure.axes if a.axison)


def test_learning_curves():
    metrics = {"epoch": [1, 2, 3]}
    for term in ("elbo", "rate", "distortion"):
        metrics[f"train_{term}"], metrics[f"test_{term}"] = [1.0, 2, 3], [None, 2.0, 3.0]
    figure = figures.learning_curves(metrics)
    assert labelled(figure)
    assert [len(a.lines) for a in figure.axes] == [2, 2, 2]
    assert list(figure.axes[1].lines[0].get_ydata()) == [1, 2, 3]


def test_learning_curves_of_a_point_posterior_say_so():
    metrics = {"epoch": [1], "train_distortion": [1.0], "test_distortion": [2.0]}
    metrics |= {f"{s}_{t}": [float("nan")] for s in ("train", "test") for t in ("elbo", "rate")}
    figure = figures.learning_curves(metrics)
    assert [len(a.lines) for a in figure.axes] == [0, 0, 2]
    assert "point posterior" in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize("mean, collapsed", [([2.0, 0.001, 1.0], 1), ([0.0, 0.0], 2)])
def test_kl_histogram_counts_the_collapsed(mean, collapsed):
    figure = figures.kl_histogram(np.tile(mean, (256, 1)))
    assert labelled(figure)
    assert f"{collapsed} of {len(mean)} components collapsed" in figure.get_suptitle()
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx(sorted(mean, reverse=True))
    assert sum(bar.get_height() for bar in figure.axes[1].patches) >= len(mean)


def test_progress_shows_both():
    figure = figures.progress(rng.random((16, 3, 4, 4)), rng.random((16, 3, 4, 4)),
                              rng.random((32, 3, 4, 4)), 7)  # fmt: skip
    assert "epoch 7" in figure.get_suptitle()
    assert len(figure.axes) == 2
