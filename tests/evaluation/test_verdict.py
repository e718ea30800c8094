"""One verdict in words, on models that deserve it."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.verdict import Distances, judge, variance_ratio


def test_alike_reconstructions_are_over_regularised():
    verdict = judge(0.1, Distances(reconstructions=5.0, samples=5.0, spread=10.0))
    assert verdict.word == "over-regularised" and "0.10 of the data's" in verdict.reason


def test_good_reconstructions_with_bad_samples_are_under_regularised():
    verdict = judge(0.9, Distances(reconstructions=1.0, samples=8.0, spread=10.0))
    assert verdict.word == "under-regularised" and "larger beta" in verdict.reason


@pytest.mark.parametrize(
    "distances",
    [
        Distances(reconstructions=2.0, samples=5.0, spread=10.0),  # not three times as far
        Distances(reconstructions=0.01, samples=0.5, spread=10.0),  # not a tenth of the spread
    ],
)
def test_what_is_neither_is_well_regularised(distances):
    assert judge(0.9, distances).word == "well regularised"


def test_without_samples_only_one_side_is_judged():
    assert judge(0.9).word == "not over-regularised" and judge(0.1).word == "over-regularised"


@pytest.mark.slow
def test_the_variance_of_reconstructions_is_that_of_a_linear_model(digits):
    """A linear autoencoder at its optimum keeps the leading eigenvalues; a dead one nothing."""
    x = digits.train.images
    settings = {"learning_rate": 0.01, "epochs": 150, "learning_rate_schedule": "cosine"}
    vae = pv.VAE((1, 8, 8), 3, "gaussian_fixed_sigma", "linear", sigma=0.05, levels=17)
    list(pv.fit(vae, x, objective="elbo_analytic", **settings))
    centred = x.flatten(1).double() - x.flatten(1).double().mean(0)
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / len(x)).flip(0)
    kept = (eigenvalues[:3].sum() / eigenvalues.sum()).item()
    # Each mean reconstruction of pPCA is shrunk by 1 - sigma^2 / l, which is 0.98 here.
    assert variance_ratio(vae, x) == pytest.approx(kept, rel=0.05)
    with torch.no_grad():
        vae.decoder[0].weight.zero_()
    assert variance_ratio(vae, x) == pytest.approx(0, abs=1e-9)
