"""Weights rounded to 16 bits, what that changes, and arrays as text."""

import base64
import math

import numpy as np
import pytest
import torch

from pyro_vae.explorer.weights import (
    Change,
    byte_text,
    change_by_rounding,
    float16_text,
    rounded,
)
from pyro_vae.models.vae import VAE


def small_vae(**options):
    return VAE((1, 2, 2), 2, hidden=(3,), **options).eval()


def test_a_text_holds_the_numbers():
    x = torch.tensor([[1.5, -2.0], [1 / 3, 0.0]])
    found = np.frombuffer(base64.b64decode(float16_text(x)), "<f2")
    assert found.tolist() == [1.5, -2.0, float(np.float16(1 / 3)), 0.0]
    assert base64.b64decode(byte_text(torch.tensor([0.0, 7.0, 255.0]))) == bytes([0, 7, 255])


def test_a_copy_is_rounded_and_the_model_stays():
    vae = small_vae(likelihood="gaussian_optimal_sigma").double()
    vae.likelihood.sigma.fill_(1 / 3)
    before = [p.clone() for p in vae.parameters()]
    copy = rounded(vae)
    assert copy.likelihood.sigma.item() == float(np.float16(1 / 3))
    for old, now, other in zip(before, vae.parameters(), copy.parameters(), strict=True):
        assert torch.equal(old, now)
        assert torch.equal(other, old.half().double()) and not torch.equal(other, old)


@pytest.mark.parametrize("wrong, shown", [(1e5, "100000"), (math.nan, "nan"), (math.inf, "inf")])
def test_weights_that_16_bits_do_not_hold(wrong, shown):
    vae = small_vae()
    vae.decoder[0].bias.data[1] = wrong
    expected = f"expected numbers up to 65504 for float16, got {shown}"
    with pytest.raises(ValueError, match=f"decoder.0.bias: {expected}"):
        rounded(vae)
    with pytest.raises(ValueError, match=f"codes: {expected}"):
        float16_text(vae.decoder[0].bias, "codes")


def test_the_change_is_the_largest_and_the_root_mean_square():
    """One bias of a linear model changes one pixel by 0.1 and one code by 0.2."""
    vae = VAE((1, 2, 2), 2, "gaussian_shared_sigma", "linear").eval()
    for p in vae.parameters():
        p.data.zero_()
    vae.decoder[0].bias.data.fill_(0.5)
    other = rounded(vae)
    other.decoder[0].bias.data[3] = 0.6
    other.encoder[1].bias.data[0] = -0.2
    change = change_by_rounding(vae, other, torch.rand(5, 1, 2, 2))
    assert change == pytest.approx(Change(0.1, 0.05, 0.2), rel=1e-6)  # float32
    assert change_by_rounding(vae, vae, torch.rand(5, 1, 2, 2)) == Change(0, 0, 0)


def test_many_images_are_taken_a_few_at_a_time(monkeypatch):
    vae, images = small_vae().double(), torch.rand(7, 1, 2, 2, dtype=torch.float64)
    whole = change_by_rounding(vae, rounded(vae), images)
    monkeypatch.setattr("pyro_vae.explorer.weights.PIXELS_AT_ONCE", 8)
    parts = change_by_rounding(vae, rounded(vae), images)
    assert list(parts) == pytest.approx(list(whole), rel=1e-9)  # float64
    assert whole.largest_pixel > 0 and whole.largest_code > 0
