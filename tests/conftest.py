"""Shared scenarios and the two standing rules: fixed seeds, and CUDA tests only where there is one."""

import os
from pathlib import Path

import pyro
import pytest
import torch


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="no CUDA device")
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def fresh_state():
    """Every test starts from one seed, an empty parameter store and validation on."""
    torch.manual_seed(0)
    pyro.clear_param_store()
    pyro.enable_validation(True)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def real_data():
    """A folder with the published files, named by PYRO_VAE_DATA; the test skips without it."""
    root = os.environ.get("PYRO_VAE_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("PYRO_VAE_DATA names no data folder")
    return Path(root)
