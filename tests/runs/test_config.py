"""A configuration in YAML."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import pyro_vae as pv
from pyro_vae.runs.config import load_settings
from pyro_vae.sweeps.grid import read_grid
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_what_is_saved_is_loaded():
    config = quick(beta=0.25, hidden=(400, 200), sigma=0.5, likelihood="gaussian_fixed_sigma")
    config.save("c.yaml")
    assert pv.RunConfig.load("c.yaml") == config
    content = yaml.safe_load(Path("c.yaml").read_text())
    assert list(content) == list(pv.RunConfig.__dataclass_fields__)
    assert content["hidden"] == [400, 200] and content["beta"] == 0.25


def test_paths_may_be_objects(no_pictures):
    np.save("a.npy", np.zeros((20, 4, 4), np.uint8))
    config = quick(dataset=Path("a.npy"), data_dir=Path("elsewhere"))
    assert config == quick(dataset="a.npy", data_dir="elsewhere")
    assert pv.train(config, Path("run")).config.dataset == str(Path("a.npy").absolute())
    grid = read_grid({"dataset": [Path("a.npy"), "digits"]})
    assert grid["dataset"] == [str(Path("a.npy").resolve()), "digits"]
    with pytest.raises(ValueError, match="likelihood: expected a name, got PosixPath"):
        quick(likelihood=Path("laplace"))


@pytest.mark.parametrize(
    "text, seed", [("seed: 010", 10), ("seed: 8", 8), ("seed: '8'", 8), ("beta: 1.\nseed: +7", 7)]
)
def test_numbers_are_read_as_they_are_written(text, seed):
    """YAML 1.1 takes 010 for 8."""
    Path("c.yaml").write_text(text)
    assert pv.RunConfig.load("c.yaml").seed == seed


@pytest.mark.parametrize(
    "text, message",
    [
        ("epochs: 1:30", "epochs: expected a whole number >= 1, got '1:30', in c.yaml"),
        ("beta: 1:30.5", "beta: expected a number >= 0, got '1:30.5', in c.yaml"),
        ("seed: 0x10", "seed: expected a whole number >= 0, got '0x10', in c.yaml"),
        ("seed: 1\nbeta: 2\nseed: 3", "config: c.yaml cannot be read: 'seed' is given twice"),
        ("a: {b: 1, b: 2}", "config: c.yaml cannot be read: 'b' is given twice"),
    ],
)
def test_what_yaml_would_read_as_something_else_is_refused(text, message):
    Path("c.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        pv.RunConfig.load("c.yaml")


def test_an_empty_file_sets_nothing():
    Path("c.yaml").write_text("")
    assert load_settings("c.yaml") == {} and pv.RunConfig.load("c.yaml") == pv.RunConfig()


def test_one_word_tells_a_model_from_others():
    assert quick(likelihood="laplace").kind == "laplace"
    assert quick(likelihood="laplace", model="autoencoder").kind == "autoencoder"


def test_a_configuration_shows_what_differs_from_the_defaults():
    config = pv.RunConfig(dataset="mnist", hidden=[400, 200], beta="4", epochs=100)
    assert repr(config) == "RunConfig(dataset='mnist', hidden=(400, 200), beta=4.0)"
    assert eval(repr(config), {"RunConfig": pv.RunConfig}) == config
    assert repr(pv.RunConfig()) == "RunConfig()" and pv.RunConfig().chosen == {}
