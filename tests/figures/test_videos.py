"""Moving pictures."""

import imageio.v3 as imageio
import numpy as np
import pytest

from pyro_vae.figures.images import LINE, counted, encode_video, frames, slow_start


@pytest.mark.parametrize(
    ("ending", "hue"), [(".mp4", [1.0]), (".gif", [1.0]), (".gif", [1.0, 0.9, 0.8])]
)
def test_a_video_shows_its_frames(ending, hue):
    """From black to white, or to a light red: the codec may be off by a few levels."""
    shades = np.linspace(0, 1, 5)[:, None] * hue
    images = np.broadcast_to(shades[:, None, :, None, None], (5, 4, len(hue), 8, 8))
    pictures = frames(images, 2, side=64)
    assert pictures.shape == (5, 68, 68, 3)
    seen = imageio.imread(encode_video(pictures, ending), extension=ending)
    assert seen.shape == pictures.shape
    assert np.abs(seen.astype(int) - pictures).max() <= 6


def test_frames_have_even_sides_and_square_pixels():
    images = np.zeros((2, 6, 3, 5, 7))
    images[1, :, 0, 2, 3] = 1
    pictures = frames(images, 3, side=100)
    assert pictures.shape == (2, 44, 92, 3)  # pixels of 4x4, white lines between the images
    assert (pictures[0] == 0).all(-1).sum() == 6 * 5 * 7 * 16
    assert (pictures[1, :20, :28, 0] == 255).sum() == 16


@pytest.mark.parametrize(
    "size, side, columns",
    [(7, 70, 3), (7, 100, 3), (28, 480, 3), (64, 480, 3), (64, 480, 8)],
)
def test_sides_are_even_for_images_of_any_size(size, side, columns):
    """Three images of 7 pixels make 23 in a row, and eight of 64 are wider than asked for."""
    _, height, width, _ = frames(np.zeros((1, 2 * columns, 1, size, size)), columns, side).shape
    assert height % 2 == width % 2 == 0


def test_another_kind_of_video_is_refused():
    with pytest.raises(ValueError, match=r"ending: file type: unknown name '\.avi'"):
        encode_video(np.zeros((1, 4, 4, 3), np.uint8), ".avi")


def test_frames_are_counted_above_the_picture():
    pictures = np.zeros((3, 40, 200, 3), np.uint8)
    shown = counted(pictures)
    assert shown.shape == (3, 40 + LINE, 200, 3) and LINE % 2 == 0
    assert (shown[:, LINE:] == 0).all()
    assert (shown[:, :LINE] == 0).any(axis=(1, 2, 3)).all()  # black letters
    assert (shown[0, :LINE] != shown[1, :LINE]).any()  # another number


def test_a_video_begins_slowly():
    pictures = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    assert slow_start(pictures, first=2, times=3).ravel().tolist() == [0, 0, 0, 1, 1, 1, 2, 3]
