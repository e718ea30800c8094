"""Pictures of images: every one stands in its place."""

import numpy as np
import pytest

from pyro_vae.figures import images as figures

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
    originals, reconstructions = rng.random((2, 16, 1, 28, 28))
    axes = figures.reconstruction_grid(originals, reconstructions).axes[0]
    shown = axes.images[0].get_array()
    assert np.allclose(shown[0:28, 0:28, 0], originals[0, 0])
    assert np.allclose(shown[29:57, 0:28, 0], reconstructions[0, 0])
    assert np.allclose(shown[58:86, 0:28, 0], originals[8, 0])


def test_named_rows_stand_beside_their_names():
    above, below = rng.random((2, 3, 1, 28, 30))
    axes = figures.named_rows({"above": above, "below": below}, "title").axes[0]
    shown = axes.images[0].get_array()
    assert np.allclose(shown[0:28, 31:61, 0], above[1, 0])
    assert np.allclose(shown[29:57, 31:61, 0], below[1, 0])
    places = dict(zip([t.get_text() for t in axes.get_yticklabels()], axes.get_yticks()))
    assert places == {"above": 13.5, "below": 42.5}  # the middle rows of pixels


def test_progress_shows_both():
    figure = figures.progress(rng.random((16, 3, 4, 4)), rng.random((16, 3, 4, 4)),
                              rng.random((32, 3, 4, 4)), 7)  # fmt: skip
    assert "epoch 7" in figure.get_suptitle()
    assert len(figure.axes) == 2


def test_small_images_are_interpolated_and_others_are_not():
    """Images of one grey stay so, a ramp stays one inside, and its mean stays."""
    grey = np.full((2, 3, 8, 10), 0.25)
    assert figures.enlarged(grey).shape == (2, 3, 32, 40)
    assert figures.enlarged(grey) == pytest.approx(0.25)
    ramp = np.broadcast_to(np.linspace(0, 1, 8), (1, 1, 8, 8))
    larger = figures.enlarged(ramp)[0, 0]
    steps = np.diff(larger[16, 8:-8])
    assert steps == pytest.approx(1 / 7 / 4, rel=1e-3)  # four pixels for one; rounding of float32
    assert larger.mean() == pytest.approx(0.5, abs=1e-3)
    large = rng.random((1, 1, 28, 28))
    assert figures.enlarged(large) == pytest.approx(large)


def test_interpolated_images_stay_in_the_unit_interval():
    edge = np.zeros((1, 1, 4, 4))
    edge[..., 2:] = 1  # where a cubic overshoots
    larger = figures.enlarged(edge)
    assert larger.min() == 0 and larger.max() == 1
