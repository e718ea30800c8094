"""Shared scenarios and the two standing rules: fixed seeds, and CUDA tests only where there is one."""

import os
from pathlib import Path

import pyro
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.exact import LinearGaussian
from pyro_vae.randomness import seeded


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="no CUDA device")
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models here are small: more threads cost more than they bring, most of all when shared."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_state():
    """Every test starts from one seed, an empty parameter store and validation on."""
    torch.manual_seed(0)
    pyro.clear_param_store()
    pyro.enable_validation(True)


@pytest.fixture
def real_data():
    """A folder with the published files, named by PYRO_VAE_DATA; the test skips without it."""
    root = os.environ.get("PYRO_VAE_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("PYRO_VAE_DATA names no data folder")
    return Path(root)


def linear_gaussian_vae(oblique=False, spoil=0.0, sigma=0.5, latent_dim=3, seed=3):
    """A linear VAE in float64 whose log p(x) and posterior are known, with the best encoder.

    With orthogonal decoder columns the encoder's diagonal q is the posterior; with oblique ones it
    is the best diagonal q. `spoil` moves its means and widens its scales.
    """
    generator = torch.Generator().manual_seed(seed)
    vae = pv.VAE((1, 4, 4), latent_dim, "gaussian_fixed_sigma", "linear", sigma=sigma).double()
    vae.eval()
    weight = torch.randn(16, latent_dim, generator=generator, dtype=torch.float64)
    if not oblique:
        weight = torch.linalg.qr(weight).Q * torch.linspace(0.5, 1.5, latent_dim).double()
    (decoder,) = (m for m in vae.decoder.modules() if isinstance(m, torch.nn.Linear))
    (encoder,) = (m for m in vae.encoder.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        decoder.weight.copy_(weight)
        decoder.bias.copy_(torch.randn(16, generator=generator))
        exact = LinearGaussian.of(vae)
        gain = torch.linalg.solve(exact.precision, weight.T) / sigma**2
        encoder.weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
        encoder.bias[:latent_dim] = -gain @ decoder.bias + spoil
        encoder.bias[latent_dim:] = -exact.precision.diagonal().log() / 2 + spoil
    return vae, exact


def drawn_images(vae, count, seed=1):
    """Images that the model itself draws, on its own continuous scale."""
    with seeded(seed), torch.no_grad():
        return vae.decode(vae.prior.sample((count,))).sample()
