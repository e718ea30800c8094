"""Measures of runs: tables of figures, measured once, and the measures that the package has."""

import json

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.comparison.measures import images, latents, likelihood, posterior
from pyro_vae.comparison.measuring import evaluate_missing, measure
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.pixels import refit_sigma
from tests.support import seams


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of an epoch, with validation images."""
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    settings = {"hidden": (4,), "latent_dim": 2, "epochs": 1, "patience": 1, "beta": [1, 4]}
    with pytest.MonkeyPatch.context() as patch:
        seams.do_without_pictures(patch.setattr)
        pv.sweep(settings, folder)
    return pv.load_runs(folder)


def loss_of_weights(run, data, factor):
    """A measure that counts its calls."""
    loss_of_weights.calls += 1
    ends = data.test.images[:3].mean((1, 2, 3))
    return {"factor": factor, "of images": ends, "mean": Estimate(run.config.beta, 0.5)}


def test_a_table_has_a_row_for_each_run_and_is_measured_once(runs):
    loss_of_weights.calls = 0
    for _ in range(2):
        table = measure(runs, loss_of_weights, factor=2)
        assert loss_of_weights.calls == 2
        assert table.index.tolist() == [str(run.folder) for run in runs]
        assert table["mean"].tolist() == [1.0, 4.0] and table["factor"].tolist() == [2, 2]
        assert table["mean.standard_error"].tolist() == [0.5, 0.5]
        assert table["of images"].iloc[0].shape == (3,)
    joined = runs.table().join(table)
    assert (joined["beta"] == joined["mean"]).all()


@pytest.mark.slow
def test_parts_are_evaluated_where_they_are_missing(runs, monkeypatch):
    calls = []

    def evaluate(run, only, quick):
        calls.append((run.config.beta, only, quick))
        return pv.evaluate(run, only, quick)

    monkeypatch.setattr("pyro_vae.comparison.measuring.evaluate", evaluate)
    evaluate_missing(runs[:1], ["decoder"], quick=True)
    evaluate_missing(runs, ["decoder"], quick=True)
    assert calls == [(1, ["decoder"], True), (4, ["decoder"], True)]
    with pytest.raises(ValueError, match="only: unknown name 'decoders'"):
        evaluate_missing(runs, ["decoders"])


@pytest.mark.parametrize(
    "known, missing",
    [
        ({"latents": {"checkpoint": "new"}, "factors": None}, []),
        ({"latents": {"checkpoint": "old"}, "factors": None}, ["latents"]),
        ({}, ["latents", "factors"]),
    ],
)
def test_parts_of_other_weights_are_missing(known, missing, tmp_path, monkeypatch):
    """A part that is None does not apply to the run."""
    calls = []
    monkeypatch.setattr(
        "pyro_vae.comparison.measuring.evaluate", lambda run, only, quick: calls.append(only)
    )
    (tmp_path / "evaluation.json").write_text(json.dumps(known))
    run = pv.Run(tmp_path, pv.RunConfig(), None, {}, None, fingerprint="new")
    evaluate_missing([run], ["latents", "factors"])
    assert calls == [missing] * bool(missing)


# --- the measures that the package has --------------------------------------------------------------


def test_bounds_of_a_run_are_those_of_its_images(runs):
    digits, run = pv.load_dataset("digits", validation=True), runs[0]
    table = measure(runs, likelihood.importance, images=5, draws=3)
    expected = importance_bound(run.vae, digits.test.images[:5], 3).log_prob
    assert np.array_equal(table["importance_nats"].iloc[0], expected.numpy())
    bits = -expected.numpy() / (64 * np.log(2))
    assert table["importance_bits"].iloc[0] == pytest.approx(bits, rel=1e-6)  # float32
    held_out = likelihood.importance(run, digits, 5, 3, "validation")["importance_nats"]
    assert torch.equal(
        held_out, importance_bound(run.vae, digits.validation.images[:5], 3).log_prob
    )


@pytest.mark.slow
def test_annealing_lies_over_a_loose_bound(runs, digits):
    """The importance bound of one draw is an ELBO; annealing of many steps lies well above it."""
    found = likelihood.annealed(runs[0], digits, 20, 30, 4)
    loose = likelihood.importance(runs[0], digits, 20, 1)
    assert (found["annealed_nats"] - loose["importance_nats"]).mean() > 0
    assert (found["annealed_bits"] < loose["importance_bits"]).double().mean() > 0.5
    with pytest.raises(ValueError, match="split: digits has no validation images; hold some out"):
        likelihood.annealed(runs[0], digits, 1, 2, 1, split="validation")
    with pytest.raises(ValueError, match="split: unknown name 'tests'"):
        likelihood.importance(runs[0], digits, 1, 1, split="tests")


def test_looseness_is_annealing_less_the_bound(runs, digits):
    found = likelihood.looseness(runs[0], digits, 3, 4, 10, 4)["looseness"]
    tight = likelihood.annealed(runs[0], digits, 3, 10, 4)["annealed_nats"]
    assert torch.equal(
        found, tight - likelihood.importance(runs[0], digits, 3, 4)["importance_nats"]
    )


def test_a_refitted_sigma_is_the_one_that_is_scored(runs, digits):
    bits = likelihood.with_refitted_sigma(runs[0], digits, draws=4)
    vae = refit_sigma(runs[0].vae, digits.train.images, score="levels")
    nats = importance_bound(vae, digits.test.images, 4).log_prob
    assert torch.allclose(bits["refitted_bits"] * 64 * np.log(2), -nats)
    assert bits["given_bits"].mean() > bits["refitted_bits"].mean(), "a shared sigma after an epoch"


@pytest.mark.slow
def test_images_of_a_run_are_measured_in_halves(runs, digits, classifier, monkeypatch):
    monkeypatch.setattr(images, "classifier_for", lambda data, folder: classifier)
    reference, others = images.halves(digits, 100)
    assert torch.equal(reference, digits.test.images[:200:2])
    assert torch.equal(others, digits.test.images[1:200:2])
    floor = images.distance_of_real_images(digits, "data", 100)
    quality = images.decoded_quality(runs[0], digits, 100)
    made = images.generation_quality(runs[0], digits, 100)
    assert 0 < floor.mean < min(made["reconstructions"], made["samples"])
    assert quality["Fréchet, prior"] > floor.mean and quality["sharpness, mean"] < 1
    assert quality["error, drawn"] > quality["error, mean"] > 0, "a draw of z costs"
    assert 0 <= quality["explained"] <= 1 and "regularised" in quality["verdict"]


def test_a_chain_of_a_run_ends_near_the_prior_or_says_so(runs, digits):
    found = images.chain(runs[0], digits, chains=256, steps=3)
    assert set(found) == {"drift", "run away", "p-value"}
    assert 0 < found["drift"] < 1 and 0 <= found["run away"] <= 1 and 0 <= found["p-value"] <= 1


@pytest.mark.slow
def test_the_posterior_of_a_run_is_measured(runs, digits):
    run = runs[0]
    assert posterior.k_hat(run, digits, 6, 200)["k-hat"].shape == (6,)
    assert 0 <= posterior.calibration(run, digits, 100)["p-value of SBC"] <= 1
    found = posterior.nuts(run, digits, images=1, draws=30)
    assert found["draws"].shape == (2, 30, 1, 2)
    assert 0 < found["smallest scale ratio"] <= found["largest scale ratio"]
    beside = posterior.beside_q(run, digits, found["draws"])
    chain, own = (beside[name]["posterior"]["z"].values for name in ("NUTS", "q"))
    assert np.array_equal(chain, found["draws"][:1, :, 0]) and own.shape == chain.shape
    q = run.vae.encode(digits.test.images[:1])
    apart = (own.mean((0, 1)) - q.mean[0].detach().numpy()) / q.variance[0].sqrt().detach().numpy()
    assert np.abs(apart).max() < 5 / 30**0.5, "5 standard errors of a mean of 30 draws"
    gaps = posterior.gaps(run, digits, 3, 20, 5, 4, 5)
    assert len(gaps) == 6 and all(gap.shape == (3,) for gap in gaps.values())


def test_midpoints_of_an_image_with_itself_are_its_ends():
    """Both ends are the same image: the middle of every path is the image, or its reconstruction."""
    vae = pv.VAE((1, 8, 8), 2, "bernoulli", hidden=(4,), levels=2).eval()
    image = (torch.rand(1, 1, 8, 8) < 0.5).float()
    split = pv.Split(image.expand(400, -1, -1, -1))
    data = pv.Dataset("same", split, split, levels=2)
    run = pv.Run(None, pv.RunConfig(), vae, {}, None)
    found = latents.midpoints(run, data, pairs=200)
    assert set(found) == {"linear", "slerp", "blend"}
    for name in ("linear", "slerp"):
        error = found[name].std() / 200**0.5
        assert found[name].mean().abs() < 5 * error, "5 standard errors"


def test_the_use_of_components_is_read_from_the_evaluation(tmp_path):
    change = {"mean": 0.02, "standard_error": 0.01}
    found = {"marginal_distances": [0.1, 0.4, 0.2], "nll_change_without_inactive_nats": change}
    summary = {"test": {"rate_per_component_nats": [2.0, 0.3, 0.05]}}
    run = pv.Run(tmp_path, pv.RunConfig(), None, {}, summary)
    with pytest.raises(ValueError, match="run: expected an evaluation of latents in"):
        latents.latent_use(run, None, carrying=0.1)
    for inactive, change in ((1, 0.02), (0, 0.0)):
        figures = {"latents": found | {"inactive_units": inactive}}
        (tmp_path / "evaluation.json").write_text(json.dumps(figures))
        used = latents.latent_use(run, None, carrying=0.1)
        assert used == {"carrying": 2, "change of NLL": change, "marginals": 0.4}


def test_the_mutual_information_gap_needs_factors(runs, digits):
    with pytest.raises(ValueError, match="data: expected true factors, which digits does not have"):
        latents.mutual_information_gap(runs[0], digits)
    sprites = pv.load_dataset("sprites")
    vae = pv.VAE(sprites.image_shape, 3, "bernoulli", hidden=(4,), levels=2).eval()
    run = pv.Run(None, pv.RunConfig(), vae, {}, None)
    gap = latents.mutual_information_gap(run, sprites)["MIG"]
    assert 0 <= gap <= 1
