"""What a grid spans, and what its runs are called."""

from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.runs.config import load_settings
from pyro_vae.sweeps.grid import combinations, grid_text, read_grid


def names(**settings):
    """What the runs of a grid are called."""
    return list(combinations(read_grid(settings)))


def test_every_combination_is_there_once_and_named_by_what_varies():
    found = names(
        beta=[0.25, 1, 4],
        likelihood=["bernoulli", "gaussian_shared_sigma"],
        latent_dim=[2, 8, 32],
        seed=[0, 1, 2],
        epochs=5,
    )
    assert len(found) == len(set(found)) == 54
    assert found[0] == "beta=0.25,likelihood=bernoulli,latent_dim=2,seed=0"
    assert found[1] == "beta=0.25,likelihood=bernoulli,latent_dim=2,seed=1"
    assert found[-1] == "beta=4,likelihood=gaussian_shared_sigma,latent_dim=32,seed=2"


def test_the_configurations_are_those_of_their_names():
    configs = combinations(read_grid({"seed": [3, 4], "beta": ["2", 1e-5], "hidden": "400,200"}))
    base = {"hidden": (400, 200)}
    assert configs == {
        "seed=3,beta=2": pv.RunConfig(seed=3, beta=2.0, **base),
        "seed=3,beta=1e-05": pv.RunConfig(seed=3, beta=1e-5, **base),
        "seed=4,beta=2": pv.RunConfig(seed=4, beta=2.0, **base),
        "seed=4,beta=1e-05": pv.RunConfig(seed=4, beta=1e-5, **base),
    }


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, ["digits-gaussian_shared_sigma"]),
        ({"likelihood": ["bernoulli"], "beta": 4}, ["digits-bernoulli"]),
        ({"model": "autoencoder"}, ["digits-autoencoder"]),
        ({"beta": [1, 1.0, "1"]}, ["digits-gaussian_shared_sigma"]),  # one value, given thrice
        ({"seed": range(2)}, ["seed=0", "seed=1"]),
        ({"sigma": [None, 0.5]}, ["sigma=unset", "sigma=0.5"]),
        ({"hidden": [400, 200]}, ["digits-gaussian_shared_sigma"]),
        ({"hidden": [[400, 200], [100]]}, ["hidden=400x200", "hidden=100"]),
        ({"hidden": ["400,200", "100"]}, ["hidden=400x200", "hidden=100"]),
        ({"hidden": [(400, 200), None]}, ["hidden=400x200", "hidden=unset"]),
        ({"dataset": ["digits", "my data/a b.npy"]}, ["dataset=digits", "dataset=a_b"]),
        ({"dataset": ["x/Pics.npy", "y/pics.npz"]}, ["dataset=Pics", "dataset=pics-2"]),
        ({"dataset": ["x/pics.npy", "y/Pics.npz"]}, ["dataset=pics", "dataset=Pics-2"]),
        ({"data_dir": ["data", "/", "/scratch/data"]},
         ["data_dir=data", "data_dir=_", "data_dir=data-2"]),
        ({"learning_rate": [1e-3, 0.30000000000000004]},
         ["learning_rate=0.001", "learning_rate=0.30000000000000004"]),
    ],
)  # fmt: skip
def test_names_are_readable_and_safe(settings, expected):
    assert names(**settings) == expected


def test_names_fit_a_file_system():
    long = [f"x/{'ü' * 150}{n}.npy" for n in range(2)]
    found = names(dataset=long, data_dir=[f"y/{'z' * 150}{n}" for n in range(2)])
    assert len(set(found)) == 4 and max(len(name.encode()) for name in found) <= 200


def test_a_data_set_of_ones_own_is_found_from_anywhere():
    assert read_grid({"dataset": ["a.npy", "mnist"]})["dataset"] == [
        str(Path("a.npy").resolve()), "mnist",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"betta": [1]}, "sweep: setting: unknown name 'betta'; did you mean 'beta'?"),
        ({"beta": []}, "beta: expected one value at least, got none"),
        ({"beta": [1, "x"]}, "beta: expected a number >= 0, got 'x'"),
        ({"beta": [[1, 2]]}, r"beta: expected a number >= 0, got \[1, 2\]"),
        ({"seed": [0, -1]}, "seed: expected a whole number >= 0, got -1"),
        ({"likelihood": ["bernouli"]}, "did you mean 'bernoulli'?"),
        ({"dataset": "minst"}, "dataset: unknown name 'minst'; did you mean 'mnist'?"),
        ({"objective": ["elbo", "iwae"], "beta": [1, 4]},
         "combination objective=iwae,beta=4: beta: "),
        ({"warmup_epochs": [5, 50], "epochs": 20, "beta_schedule": "linear"},
         "combination warmup_epochs=50: "),
    ],
)  # fmt: skip
def test_what_is_no_grid_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        names(**settings)


def test_a_grid_is_read_back(tmp_path):
    grid = read_grid({"hidden": [[4, 2], None], "beta": [1, 0.5], "epochs": 3, "sigma": None})
    file = tmp_path / "sweep.yaml"
    file.write_text(grid_text(grid))
    assert read_grid(load_settings(file)) == grid
    assert "beta:\n- 1.0\n- 0.5\nepochs: 3\n" in file.read_text()
    single = read_grid({"hidden": [4, 2]})
    file.write_text(grid_text(single))
    assert read_grid(load_settings(file)) == single == {"hidden": [(4, 2)]}
