"""Pixels that are drawn, and what a data set is made of."""

import pytest
import torch

from pyro_vae.data import Dataset, Split, check_unit_interval, draw_binary


def test_drawn_pixels_have_their_probability():
    p = torch.linspace(0, 1, 11).expand(20_000, 11)
    x = draw_binary(p)
    assert ((x == 0) | (x == 1)).all()
    assert ((x.mean(0) - p[0]).abs() <= 5 * (p[0] * (1 - p[0]) / len(x)).sqrt()).all()


def test_rows_of_a_split_stay_together():
    split = Split(torch.rand(5, 1, 2, 2), torch.arange(5), torch.arange(10).view(5, 2))
    part = split[1:3]
    assert len(part) == 2 and torch.equal(part.images, split.images[1:3])
    assert part.labels.tolist() == [1, 2] and part.factors.tolist() == [[2, 3], [4, 5]]
    assert Split(split.images)[1:3].labels is None


def test_a_data_set_in_another_number_format_keeps_its_labels():
    split = Split(torch.rand(5, 1, 2, 2), torch.arange(5))
    data = Dataset("mine", split, split[:2], levels=None).to("cpu", torch.float64)
    assert data.train.images.dtype == data.test.images.dtype == torch.float64
    assert torch.equal(data.train.images, split.images.double())
    assert data.test.labels.tolist() == [0, 1] and data.validation is None


@pytest.mark.parametrize(
    "pixels, message",
    [
        ([0.5, torch.nan], "images: expected finite pixels, got NaN or infinite ones"),
        ([0.5, torch.inf], "images: expected finite pixels, got NaN or infinite ones"),
        ([-0.25, 1.0], r"images: expected pixels in \[0, 1\], got -0.25 to 1; divide by"),
        ([0.0, 255.0], r"images: expected pixels in \[0, 1\], got 0 to 255; divide by"),
        ([0.0, 1.0000001], r"images: expected pixels in \[0, 1\], got 0 to 1.0000001; divide by"),
        ([-1e-9, 1.0], r"images: expected pixels in \[0, 1\], got -0.000000001 to 1; divide by"),
    ],
)
def test_pixels_outside_the_unit_interval_are_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        check_unit_interval(torch.tensor(pixels))
    check_unit_interval(torch.tensor([0.0, 0.5, 1.0]))


def test_data_are_shown_in_a_line(digits):
    assert repr(digits) == (
        "Dataset('digits', 1437 training, 360 test images, 1x8x8, 17 grey levels)"
    )
    assert repr(digits.train) == "Split(1437 images 1x8x8, labels)"
    x = torch.rand(5, 3, 2, 4)
    factors = Split(x, factors=torch.zeros(5, 2))
    mine = Dataset("mine", Split(x), factors, None, validation=Split(x[:2]), dynamic=True)
    assert repr(factors) == "Split(5 images 3x2x4, factors)"
    assert repr(mine) == (
        "Dataset('mine', 5 training, 2 validation, 5 test images, 3x2x4, unknown grey levels,"
        " drawn anew in each epoch)"
    )
