"""Four kinds of codes, decoded by a model whose decoder shows the code itself."""

import pytest
import torch

import pyro_vae as pv
from decoding import decoded_sets


def test_each_set_has_the_codes_of_its_name():
    """A pixel of 0.5 + z / 100 in expectation, and q = N(2, 0.01^2): images show their code."""
    vae = pv.VAE((1, 1, 1), latent_dim=1, likelihood="gaussian_fixed_sigma", network="linear")
    for parameter in vae.parameters():
        parameter.data.zero_()
    vae.encoder[-1].bias.data.copy_(torch.tensor([2.0, -4.6052]))  # the log of the scale
    vae.decoder[-2].weight.data.fill_(0.01)
    vae.decoder[-2].bias.data.fill_(0.5)
    images = torch.zeros(400, 1, 1, 1)
    sets, same, other = (decoded_sets(vae.eval(), images, images[:300], seed=s) for s in (1, 1, 2))
    assert list(sets) == ["mean", "drawn", "prior", "fitted"]
    assert all(made.shape == images.shape for made in sets.values())
    assert torch.equal(sets["prior"], same["prior"])
    assert not torch.equal(sets["prior"], other["prior"])
    codes = {name: 100 * (made.flatten() - 0.5) for name, made in sets.items()}
    assert torch.allclose(codes["mean"], torch.tensor(2.0), atol=1e-4)  # rounding in float32
    for name, mean, scale in (("drawn", 2.0, 0.01), ("prior", 0.0, 1.0), ("fitted", 2.0, 0.01)):
        error = scale / 20  # of a mean of 400 draws; the fitted Normal has errors of its own
        assert codes[name].mean() == pytest.approx(mean, abs=10 * error), name
        assert codes[name].std() == pytest.approx(scale, rel=0.25), name  # 5 / sqrt(2 * 400), twice
