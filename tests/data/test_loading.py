"""`load_dataset`: names, binary pixels, images held out."""

import pytest
import torch

import pyro_vae as pv


def is_binary(split):
    return bool(((split.images == 0) | (split.images == 1)).all())


def test_digits(digits):
    assert digits.levels == 17 and digits.image_shape == (1, 8, 8)
    assert (len(digits.train), len(digits.test)) == (1437, 360) and not digits.dynamic
    levels = digits.train.images * 16
    assert torch.equal(levels, levels.round()) and levels.min() == 0 and levels.max() == 16


def test_validation_images_are_the_last_tenth_of_the_training_set(digits):
    held = pv.load_dataset("digits", validation=True)
    assert (len(held.train), len(held.validation)) == (1294, 143)
    together = torch.cat([held.train.images, held.validation.images])
    assert torch.equal(together, digits.train.images)
    assert torch.equal(held.test.images, digits.test.images)


def test_fewer_training_images_are_a_choice_within_a_larger_one(digits):
    some = [pv.load_dataset("digits", train_images=n, validation=True) for n in (50, 100, 1294)]
    whole = pv.load_dataset("digits", validation=True)
    rows = [
        [int((whole.train.images == x).all((1, 2, 3)).nonzero()[0]) for x in data.train.images]
        for data in some
    ]
    assert [len(r) for r in rows] == [50, 100, 1294] and set(rows[0]) < set(rows[1])
    assert rows[0] == sorted(rows[0]) and rows[0][-1] > 1000
    assert torch.equal(some[0].train.labels, whole.train.labels[rows[0]])
    for data in some:
        assert torch.equal(data.test.images, digits.test.images)
        assert torch.equal(data.validation.images, whole.validation.images)
        assert data.fingerprint == whole.fingerprint
    with pytest.raises(ValueError, match="train_images: expected at most 1437, got 1438"):
        pv.load_dataset("digits", train_images=1438)


def test_a_threshold_at_one_half(digits):
    threshold = pv.load_dataset("digits", binarize="threshold")
    assert torch.equal(threshold.train.images, (digits.train.images >= 0.5).float())
    assert torch.equal(threshold.test.images, (digits.test.images >= 0.5).float())
    assert threshold.levels == 2 and not threshold.dynamic


def test_static_pixels_are_drawn_once_by_their_seed():
    static, again, other = (pv.load_dataset("digits", binarize="static", seed=s) for s in (0, 0, 1))
    assert torch.equal(static.train.images, again.train.images)
    assert not torch.equal(static.train.images, other.train.images)
    assert static.levels == 2 and not static.dynamic
    assert is_binary(static.train) and is_binary(static.test)


def test_dynamic_pixels_stay_probabilities_in_the_training_set_alone(digits):
    dynamic = pv.load_dataset("digits", binarize="dynamic", validation=True)
    assert dynamic.dynamic and dynamic.levels == 2
    assert torch.equal(dynamic.train.images, digits.train.images[:1294])
    assert is_binary(dynamic.test) and is_binary(dynamic.validation)


def test_binary_data_are_not_binarized_again():
    with pytest.raises(ValueError, match="binarize: sprites is binary already"):
        pv.load_dataset("sprites", binarize="dynamic")
    with pytest.raises(ValueError, match=r"binarize: .* did you mean 'dynamic'"):
        pv.load_dataset("digits", "data", "dinamic")
