"""A run beside trivial models of its training images."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pyro_vae.data import Dataset, Split
from pyro_vae.evaluation import baselines as functions
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.exact import optimal_linear_vae
from pyro_vae.kept import load_arrays, save_arrays
from pyro_vae.measures.baselines import VERSION, beside_baselines, not_beaten, worse_than
from pyro_vae.notices import Notice
from tests.support.linear_gaussian import correlated

DRAWS = 16  # of z, for each image


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder of kept baselines."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pyro_vae" / "baselines"


def test_the_gain_is_paired_over_images(digits):
    log_prob = functions.independent_pixels(digits.test.images, digits.train.images, 17)
    found = beside_baselines(digits, log_prob + 3, 2, DRAWS)
    assert list(found) == ["independent_pixels", "one_gaussian", "ppca"]
    same = found["independent_pixels"]
    assert same["gain_nats"] == pytest.approx(3) and same["gain_error"] == pytest.approx(0)
    assert found["one_gaussian"]["gain_error"] > 0.1
    equal = beside_baselines(digits, log_prob, 2, DRAWS)
    assert not_beaten(equal) == ["independent pixels", "one Gaussian (pixel by pixel)"]
    assert worse_than(equal) == ["one Gaussian (pixel by pixel)"]


@pytest.mark.parametrize("lost, worse", [(0, []), (0.001, []), (0.02, ["ppca"])])
def test_the_optimum_of_a_linear_vae_is_not_worse_than_ppca(lost, worse):
    """It is pPCA where bins are narrow: its draws are as many, and so little cannot matter."""
    train, test = correlated(2000, 4096), correlated(100, 4096, seed=1)
    data = Dataset("mine", Split(train.float()), Split(test.float()), 4096)
    run = optimal_linear_vae(data.train.images, 1, 4096)
    log_prob = importance_bound(run, data.test.images, DRAWS).log_prob - lost
    found = beside_baselines(data, log_prob, 1, DRAWS)
    assert worse_than({"ppca": found["ppca"]}) == ["pPCA of the same latent size" for _ in worse]
    assert "pPCA of the same latent size" in not_beaten(found)


@pytest.mark.slow
def test_they_are_computed_once_and_kept(digits, monkeypatch, cache):
    log_prob, counted = torch.zeros(len(digits.test)), []
    first = beside_baselines(digits, log_prob, 2, DRAWS, lambda *count: counted.append(count))
    assert counted == [(done, 3, "baselines") for done in range(4)]
    monkeypatch.setattr("pyro_vae.measures.baselines.one_gaussian", lambda *_: pytest.fail("again"))
    assert beside_baselines(digits, log_prob, 2, DRAWS) == first
    assert len(list(cache.iterdir())) == 3
    for latent_dim, draws in ((3, DRAWS), (2, 1)):  # of which pPCA alone depends
        beside_baselines(digits, log_prob, latent_dim, draws)
    assert len(list(cache.iterdir())) == 5
    reshaped = Split(digits.test.images.view(360, 1, 4, 16))
    other = replace(digits, train=Split(digits.train.images.view(1437, 1, 4, 16)), test=reshaped)
    with pytest.raises(pytest.fail.Exception, match="again"):
        beside_baselines(other, log_prob, 2, DRAWS)


def test_a_version_belongs_to_each_set_of_figures(digits):
    """Where these bits change, what users have kept is wrong: raise VERSION in measures.baselines."""
    found = beside_baselines(digits, torch.zeros(len(digits.test)), 8, DRAWS)
    bits = {name: round(figures["bits_per_dim"], 4) for name, figures in found.items()}
    known = {1: {"independent_pixels": 2.3913, "one_gaussian": 2.2815, "ppca": 2.4905}}
    assert bits == pytest.approx(known[VERSION], abs=1e-4)  # which another processor may round


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(5).numpy(),
        torch.full((360,), torch.nan).double().numpy(),
        torch.zeros(360).double().numpy(),
        torch.tensor([104, 105]).byte().numpy().view("S1"),
    ],
    ids=["five values", "NaN", "zeros", "text"],
)
def test_readable_but_wrong_ones_are_computed_again(digits, cache, wrong):
    log_prob = torch.zeros(len(digits.test))
    first = beside_baselines(digits, log_prob, 2, DRAWS)
    for path in cache.iterdir():
        save_arrays(path, load_arrays(path) | {"nats": wrong})
    with pytest.warns(Notice, match=r"kept: .*npz is not as it was written; .* computed again"):
        assert beside_baselines(digits, log_prob, 2, DRAWS) == first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert beside_baselines(digits, log_prob, 2, DRAWS) == first


@pytest.mark.parametrize(
    "train, size, left",
    [(1, 4, {"independent_pixels", "ppca"}), (20, 1, {"independent_pixels", "one_gaussian"})],
)
def test_what_cannot_be_computed_is_left_out_by_name(train, size, left):
    images = torch.rand(train, 1, size, size).round()
    data = Dataset("mine", Split(images), Split(images[:1]), 2)
    with pytest.warns(
        Notice, match=r"baselines: (one Gaussian .*|pPCA .*) is left out: .*expected"
    ):
        found = beside_baselines(data, torch.zeros(1), 2, DRAWS)
    assert set(found) == left


def test_a_user_without_a_home_keeps_nothing(digits, monkeypatch, elsewhere):
    monkeypatch.setattr("pyro_vae.kept.user_cache_path", lambda *_, **__: Path("~/.cache/pyro_vae"))
    assert len(beside_baselines(digits, torch.zeros(360), 2, DRAWS)) == 3
    assert list(Path().iterdir()) == []
