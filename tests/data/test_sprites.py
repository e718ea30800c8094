"""The drawn shapes, whose true factors are known."""

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.data.sprites import FACTORS, draw_sprites


def test_sprites_are_a_full_grid_of_different_pictures():
    data = pv.load_dataset("sprites")
    assert data.levels == 2 and data.image_shape == (1, 32, 32)
    assert data.factor_names == ("shape", "scale", "rotation", "x", "y")
    factors = torch.cat([data.train.factors, data.test.factors])
    assert len(factors) == len(factors.unique(dim=0)) == np.prod(list(FACTORS.values()))
    images = torch.cat([data.train.images, data.test.images]).flatten(1)
    assert len(images.unique(dim=0)) == len(factors)
    assert torch.equal(data.test.labels, data.test.factors[:, 0])


def test_each_factor_of_a_sprite_does_what_it_says():
    middle = np.array([[0, 1, 0, 3, 3]])
    rows, columns = np.mgrid[:32, :32]

    def at(**changes):
        factors = middle.copy()
        for name, value in changes.items():
            factors[0, list(FACTORS).index(name)] = value
        return draw_sprites(factors)[0]

    def centre(image):
        return (columns * image).sum() / image.sum(), (rows * image).sum() / image.sum()

    (x, y), (right, same_y), (same_x, down) = map(centre, (at(), at(x=7), at(y=7)))
    assert right - x == pytest.approx(4 * 16 / 7, abs=0.5) and same_y == pytest.approx(y, abs=0.5)
    assert down - y == pytest.approx(4 * 16 / 7, abs=0.5) and same_x == pytest.approx(x, abs=0.5)
    area = at(scale=3).sum() / at(scale=0).sum()
    assert area == pytest.approx((7 / 4) ** 2, rel=0.3)  # pixels are coarse
    for shape in range(3):
        turned = [at(shape=shape, rotation=r, scale=3) for r in range(8)]
        assert len({t.tobytes() for t in turned}) == 8
        assert np.abs(np.rot90(turned[0], -1)[1:, :-1] - turned[2][1:, :-1]).mean() < 0.1
