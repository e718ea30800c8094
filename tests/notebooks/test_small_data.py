"""A part of a data set becomes an archive that loads as a data set."""

import pytest
import torch

import pyro_vae as pv
from small_data import save_part


def test_an_archive_has_the_first_images_and_their_factors(tmp_path):
    whole = pv.load_dataset("sprites")
    path = save_part(whole, tmp_path / "new" / "part.npz", images=120)
    part = pv.load_dataset(path)
    images = torch.cat([part.train.images, part.test.images])
    assert len(images) == 120 and part.levels == 2 and part.factor_names == whole.factor_names
    originals = {tuple(x.flatten().tolist()) for x in whole.train.images[:120]}
    assert {tuple(x.flatten().tolist()) for x in images} == originals


def test_a_smaller_pixel_is_one_where_any_was(tmp_path):
    whole = pv.load_dataset("sprites")
    part = pv.load_dataset(save_part(whole, tmp_path / "part.npz", images=50, side=16))
    images = torch.cat([part.train.images, part.test.images])
    assert part.image_shape == (1, 16, 16)
    windows = whole.train.images[:50].reshape(50, 16, 2, 16, 2)
    assert images.sum() == windows.amax((2, 4)).sum()


def test_other_data_and_sides_are_refused(tmp_path, digits):
    with pytest.raises(ValueError, match="data: expected two levels, got 17"):
        save_part(digits, tmp_path / "part.npz", 10)
    with pytest.raises(ValueError, match="side: expected a divisor of 32 x 32 pixels, got 5"):
        save_part(pv.load_dataset("sprites"), tmp_path / "part.npz", 10, side=5)
