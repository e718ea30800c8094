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
