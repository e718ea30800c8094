"""Diagnostics of the posterior: each passes where it must, and fails where it must."""

import numpy as np
import pyro
import pytest
import torch
import xarray
from pyro import poutine
from scipy import stats

import pyro_vae as pv
from pyro_vae.evaluation import posteriors
from pyro_vae.evaluation.posteriors import (
    compare_moments,
    draws_tree,
    importance_diagnostics,
    nuts_reference,
    pareto_fit,
    potential_energy,
    simulation_based_calibration,
)
from tests.support.linear_gaussian import (
    ACCEPTED,
    EXACT,
    REJECTED,
    WRONG,
    collapsed,
    drawn_images,
    linear_gaussian_vae,
    linear_layers,
    overconfident,
)

# --- k-hat ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("c", [0.3, 0.8])
def test_k_hat_of_a_normal_that_is_too_narrow(c):
    """1 - c^2, which a million draws reach to 0.1 on average over 3 repeats."""
    generator = torch.Generator().manual_seed(0)
    fits = []
    for _ in range(3):
        e = torch.randn(1_000_000, 1, generator=generator, dtype=torch.float64)
        fits.append(pareto_fit((e.square() - (c * e).square()) / 2).k_hat.item())
    assert abs(np.mean(fits) - (1 - c**2)) < 0.1


@pytest.mark.parametrize("shape", [0.2, 0.9])
def test_k_hat_of_known_pareto_weights(shape):
    rng = np.random.default_rng(0)
    weights = stats.genpareto.rvs(shape, size=(100_000, 5), random_state=rng)
    fits = pareto_fit(torch.from_numpy(np.log(weights))).k_hat
    assert abs(fits.mean().item() - shape) < 0.1


def test_weights_that_are_known():
    """Constant ones are trusted; of ones and zeros the ones count (smoothing touches the tail)."""
    fit = pareto_fit(torch.full((500, 2), -7.0))
    assert fit.k_hat.tolist() == [0, 0] and fit.unreliable == 0
    assert fit.effective_sample_size.tolist() == pytest.approx([500, 500])
    log_weights = torch.where(torch.arange(4000) < 2000, 0.0, -800.0).unsqueeze(1)
    assert pareto_fit(log_weights).effective_sample_size.item() == pytest.approx(2000, rel=0.02)


def test_a_spoilt_encoder_shows_in_k_hat():
    x = drawn_images(EXACT, 10)
    good = importance_diagnostics(EXACT, x, 2000, score="density")
    assert good.k_hat.max() == 0 and good.effective_sample_size.min() == pytest.approx(2000)
    bad = importance_diagnostics(WRONG["the prior"], x, 2000, score="density")
    assert bad.effective_sample_size.max() < 1000
    narrow = overconfident(overconfident(overconfident(linear_gaussian_vae()[0])))
    assert importance_diagnostics(narrow, x, 2000, score="density").unreliable >= 9


# --- NUTS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    vae, exact = linear_gaussian_vae(oblique=True)
    x = drawn_images(vae, 2)
    return vae, exact, x, nuts_reference(vae, x, num_draws=250, num_warmup=80)


@pytest.mark.slow
def test_nuts_finds_the_posteriors_moments_and_tells_a_wrong_q(reference):
    """Five standard errors of the mean at the effective sample size, which is large enough."""
    _, exact, x, found = reference
    posterior = exact.posterior(x)
    draws = found.draws.flatten(0, 1)
    size = found.effective_sample_size
    assert size.min() > 100 and found.r_hat.max() < 1.05
    error = posterior.variance.sqrt() / size.sqrt()
    assert ((draws.mean(0) - posterior.mean).abs() < 5 * error).all()
    assert ((draws.var(0) / posterior.variance).log().abs() < 5 * (2 / size).sqrt()).all()
    for n in range(2):
        covariance, truth = draws[:, n].T.cov(), posterior.covariance_matrix[n]
        scale = truth.diagonal().sqrt()
        assert ((covariance - truth) / scale / scale[:, None]).abs().max() < 0.35
    wrong = compare_moments(linear_gaussian_vae(True, spoil=0.5)[0].encode(x), found.draws)
    right = compare_moments(posterior, found.draws)
    assert right.shift.abs().max() < 0.3 and (right.scale_ratio - 1).abs().max() < 0.2
    assert wrong.shift.abs().min() > 0.5 and wrong.scale_ratio.min() > 1.1


@pytest.mark.slow
def test_draws_are_a_file_for_arviz(reference, tmp_path):
    vae, _, x, found = reference
    (tmp_path / "draws.nc").write_bytes(draws_tree(found, vae.encode(x)).to_netcdf())
    tree = xarray.open_datatree(tmp_path / "draws.nc")
    assert tree["posterior"]["z"].dims == ("chain", "draw", "image", "latent")
    assert np.array_equal(tree["posterior"]["z"].values, found.draws.numpy())
    q = tree["variational"]["z"].values[0]
    expected = vae.encode(x)
    error = expected.variance.sqrt().detach().numpy() / np.sqrt(len(q))
    assert (np.abs(q.mean(0) - expected.mean.detach().numpy()) < 5 * error).all()


def test_nuts_samples_the_density_that_the_model_declares():
    """Rounding in float64: the same terms in another order."""
    vae, _ = linear_gaussian_vae(oblique=True)
    x = drawn_images(vae, 5)
    z = torch.randn(5, 3, dtype=torch.float64)
    program = poutine.trace(poutine.condition(vae.model, {"z": z})).get_trace(x)
    energy = potential_energy(vae, x, {"z": z})
    assert energy.item() == pytest.approx(-program.log_prob_sum().item(), rel=1e-12)


def test_nuts_counts_its_steps_and_leaves_the_model_and_the_callers_state_alone():
    pyro.param("mine", torch.ones(2))
    (vae, _), counted = linear_gaussian_vae(), []
    x, before = drawn_images(vae, 1), {k: v.clone() for k, v in vae.state_dict().items()}
    state = torch.get_rng_state()
    nuts_reference(vae, x, 5, 4, 2, progress=lambda *count: counted.append(count))
    assert counted == [(n + 1, 18, "NUTS steps") for n in range(18)]  # of two chains
    assert list(pyro.get_param_store().keys()) == ["mine"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.requires_grad and p.grad is None for p in vae.parameters())
    assert all(torch.equal(v, before[k]) for k, v in vae.state_dict().items())


def test_nuts_takes_its_steps_in_units_of_q(monkeypatch):
    """A component of scale 1 beside others of 0.01 costs hardly more gradients than one like them."""
    alike, apart = linear_gaussian_vae(sigma=0.01)[0], linear_gaussian_vae(sigma=0.01)[0]
    encoder, decoder = linear_layers(apart)
    with torch.no_grad():
        decoder.weight[:, 0] = 0
        encoder.weight[0] = encoder.bias[0] = encoder.bias[3] = 0  # its posterior is the prior
    calls = []
    monkeypatch.setattr(
        posteriors, "potential_energy", lambda vae, *rest: _counted(calls, vae, *rest)
    )
    for vae in (alike, apart):
        nuts_reference(vae, drawn_images(vae, 1), 20, 20, 1)
    assert calls.count(apart) < 2 * calls.count(alike)


def _counted(calls, vae, images, sites):
    calls.append(vae)
    return potential_energy(vae, images, sites)


# --- calibration ----------------------------------------------------------------------------------


def test_calibration_passes_the_exact_posterior():
    found = simulation_based_calibration(EXACT, 2000)
    assert found.p_value > ACCEPTED
    for level, share in found.coverage.items():
        error = np.sqrt(level * (1 - level) / 2000)
        assert (share - level).abs().max() < 5 * error


@pytest.mark.parametrize("name", WRONG)
def test_calibration_fails_a_wrong_posterior(name):
    found = simulation_based_calibration(WRONG[name], 2000)
    assert found.p_value < REJECTED
    if name == "overconfident":
        assert found.coverage[0.5].max() < 0.45
    if name == "the prior":  # the codes' ranks are uniform: only the likelihood's rank sees it
        assert found.p_values[:-1].min() > ACCEPTED and found.p_values[-1] < REJECTED


@pytest.mark.slow
def test_calibration_keeps_its_level():
    """200 repeats on the exact posterior: as many p-values under 0.05 as there should be, or fewer."""
    p = [simulation_based_calibration(EXACT, 300, 19, 10, seed=s).p_value for s in range(200)]
    assert stats.binomtest(sum(v < 0.05 for v in p), 200, 0.05, alternative="greater").pvalue > 1e-3


def test_an_exact_posterior_passes_where_log_p_of_the_image_ties():
    """A decoder that ignores z: the posterior is the prior, and log p(x|z) is the same for all z."""
    vae = collapsed(linear_gaussian_vae()[0])
    with torch.no_grad():
        linear_layers(vae)[1].weight.zero_()
    assert simulation_based_calibration(vae, 1000).p_value > ACCEPTED


def test_calibration_on_data_is_where_the_encoder_was_trained():
    """An encoder that is exact at images of a shifted code, and wrong at those of the prior."""
    images = drawn_images(EXACT, 2000)
    assert simulation_based_calibration(EXACT, 2000, images=images).p_value > ACCEPTED
    wrong = simulation_based_calibration(WRONG["biased"], 2000, images=images)
    assert wrong.p_value < REJECTED and len(wrong.ranks) == 2000
    few = simulation_based_calibration(EXACT, 2000, images=images[:300])
    assert len(few.ranks) == 300


def test_what_is_no_likelihood_is_not_calibrated():
    vae = pv.VAE((1, 4, 4), 2, "bernoulli", hidden=(4,), levels=256)
    with pytest.raises(ValueError, match="no likelihood of the data"):
        simulation_based_calibration(vae)
    with pytest.raises(ValueError, match="num_bins: expected a divisor of 100 ranks, got 7"):
        simulation_based_calibration(EXACT, 10, num_bins=7)
