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
    originals, reconstructions = rng.random((2, 16, 1, 28, 28)).astype(np.float32)
    shown = figures.reconstruction_grid(originals, reconstructions)[::3, ::3]
    assert np.array_equal(shown[0:28, 0:28, 0], originals[0, 0])
    assert np.array_equal(shown[29:57, 0:28, 0], reconstructions[0, 0])
    assert np.array_equal(shown[58:86, 0:28, 0], originals[8, 0])


@pytest.mark.parametrize("count, rows, columns", [(1, 2, 1), (5, 2, 5), (11, 2, 8), (16, 4, 8)])
def test_few_images_fill_rows_of_their_own(count, rows, columns):
    images = np.zeros((count, 1, 28, 28))
    picture = figures.reconstruction_grid(images, images)
    factor = -(-480 // (29 * columns - 1))
    assert picture.shape == ((29 * rows - 1) * factor, (29 * columns - 1) * factor, 3)


def test_a_grid_is_the_tiles_in_larger_squares():
    images = rng.random((6, 3, 30, 30)).astype(np.float32)
    picture, tiles = figures.grid(images, 3), figures.tile(images, 3)
    factor = len(picture) // len(tiles)
    assert picture.shape[1] >= 480 and np.array_equal(picture[::factor, ::factor], tiles)
    assert np.array_equal(picture[factor - 1 :: factor], picture[::factor])


def test_pictures_stand_beside_each_other_on_white():
    left, right = np.zeros((3, 32, 3)), np.zeros((5, 7, 3))
    both = figures.beside(left, right)
    assert both.shape == (5, 32 + 2 + 7, 3)
    assert (both[:3, :32] == 0).all() and (both[:, 34:] == 0).all()
    assert (both[3:, :32] == 1).all() and (both[:, 32:34] == 1).all()


def test_named_rows_stand_beside_their_names():
    above, below = rng.random((2, 3, 1, 28, 30))
    axes = figures.named_rows({"above": above, "below": below}, "title").axes[0]
    shown = axes.images[0].get_array()
    assert np.allclose(shown[0:28, 31:61, 0], above[1, 0])
    assert np.allclose(shown[29:57, 31:61, 0], below[1, 0])
    places = dict(zip([t.get_text() for t in axes.get_yticklabels()], axes.get_yticks()))
    assert places == {"above": 13.5, "below": 42.5}  # the middle rows of pixels


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
