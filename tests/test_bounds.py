"""One linear Gaussian scenario, whose log p(x) and posterior are known, through every estimator."""

import math

import pyro.distributions as dist
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.ais import (
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    temperatures,
)
from pyro_vae.evaluation.bounds import decoded_at_once, importance_bound, log_weights
from pyro_vae.evaluation.exact import LinearGaussian
from pyro_vae.evaluation.gaps import refit_posterior
from pyro_vae.evaluation.sigma import refit_sigma
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.models.elbo import ElboTerms, elbo_terms
from tests.conftest import drawn_images, linear_gaussian_vae

ORTHOGONAL, OBLIQUE = False, True


def within(value, truth, error):
    """Each image within 5 standard errors or 1e-6, their mean so too, and within 0.05 nats."""
    apart, count = value - truth, len(value)
    assert (apart.abs() <= torch.clamp(5 * error, min=1e-6)).all()
    mean_error = error.square().sum().sqrt() / count
    assert apart.mean().abs() <= min(0.05, max(5 * mean_error, 1e-6))


# --- the scenario itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_the_closed_forms_agree_with_a_full_covariance(oblique):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 5)
    weight, bias = exact.weight, exact.bias
    covariance = weight @ weight.T + exact.sigma**2 * torch.eye(16).double()
    reference = dist.MultivariateNormal(bias, covariance).log_prob(x.flatten(1))
    assert torch.allclose(exact.log_prob(x), reference, rtol=0, atol=1e-9)
    z = torch.randn(3, dtype=torch.float64)
    joint = vae.prior.log_prob(z) + vae.decode(z).log_prob(x)  # Bayes at any z
    assert torch.allclose(joint - exact.posterior(x).log_prob(z), reference, rtol=0, atol=1e-9)


@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_the_encoders_gap_is_the_closed_form(oblique):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 40)
    terms = elbo_terms(vae, x, num_samples=4000)
    gap = exact.gap(vae.encode(x).base_dist, x)
    assert torch.allclose(gap, torch.full_like(gap, exact.approximation_gap), rtol=0, atol=1e-9)
    assert (exact.approximation_gap > 0.1) if oblique else abs(exact.approximation_gap) < 1e-9
    # One draw's distortion varies by less than 3 nats, hence the tolerance for 4000 x 40 draws.
    error = 3 / math.sqrt(4000 * 40)
    assert (exact.log_prob(x) - terms.elbo - gap).mean().abs() < 5 * error


def test_what_is_not_linear_and_gaussian_is_refused():
    for options, message in [
        ({"network": "mlp", "hidden": (4,)}, "expected a linear decoder"),
        ({"network": "linear", "likelihood": "laplace"}, "expected a linear decoder"),
        ({"network": "linear", "likelihood": "gaussian_image_sigma"}, "expected"),
    ]:
        with pytest.raises(ValueError, match=message):
            LinearGaussian.of(pv.VAE((1, 4, 4), 2, **options))


def test_several_sigmas_are_refused(monkeypatch):
    vae, _ = linear_gaussian_vae()
    noise = Normal(torch.zeros(1, 4, 4), torch.arange(1.0, 17).view(1, 4, 4)).to_event(3)
    monkeypatch.setattr(vae, "decode", lambda z: noise)
    with pytest.raises(ValueError, match="expected one sigma"):
        LinearGaussian.of(vae)


# --- the importance bound -----------------------------------------------------------------------------


@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_the_importance_bound_with_5000_samples(oblique):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 20)
    bound = importance_bound(vae, x, 5000, score="density")
    truth = exact.log_prob(x)
    if not oblique:  # every weight is p(x) itself
        assert (bound - truth).abs().max() < 1e-6
    weights = log_weights(vae, x, vae.encode(x), 5000, "density")
    spread = (weights - weights.logsumexp(0) + math.log(5000)).exp().std(0)
    within(bound, truth, spread / math.sqrt(5000))


def test_the_bound_does_not_depend_on_the_pieces(monkeypatch):
    vae, _ = linear_gaussian_vae(OBLIQUE)
    x = drawn_images(vae, 6)
    whole = importance_bound(vae, x, 700, score="density")
    monkeypatch.setattr("pyro_vae.evaluation.bounds._NUMBERS_AT_ONCE", 8 * 16 * 130)
    assert decoded_at_once(vae) == 130
    done = []
    pieces = importance_bound(vae, x, 700, score="density", progress=done.append)
    assert done == [pytest.approx((k + 1) / 6) for k in range(6)]
    assert (pieces - whole).abs().max() < 0.5  # other draws, the same bound
    assert (pieces - whole).abs().max() > 0


def test_an_unknown_score_is_refused():
    vae, _ = linear_gaussian_vae()
    with pytest.raises(ValueError, match="score: unknown name 'level'; did you mean 'levels'"):
        importance_bound(vae, drawn_images(vae, 2), 2, score="level")


# --- annealing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["prior", "posterior"])
@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_annealing_finds_log_p(oblique, start):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 12)
    found = annealed_importance_sampling(vae, x, 500, 64, start=start, score="density")
    within(found.log_prob, exact.log_prob(x), found.standard_error)
    if start == "posterior" and not oblique:  # it starts where it ends: nothing to anneal
        assert (found.log_prob - exact.log_prob(x)).abs().max() < 1e-6
    assert 0.5 < found.acceptance.mean() < 0.95


def test_bidirectional_monte_carlo_brackets_log_p():
    vae, exact = linear_gaussian_vae(OBLIQUE)
    options = {"num_chains": 8, "score": "density", "seed": 5}
    bracket = bidirectional_monte_carlo(vae, 30, 40, **options)
    with pv.randomness.seeded(5), torch.no_grad():
        x = vae.decode(vae.prior.sample((30,))).sample()
    truth = exact.log_prob(x)
    for side, sign in ((bracket.lower, 1), (bracket.upper, -1)):
        slack = sign * (truth - side.log_prob)
        error = slack.std() / math.sqrt(30)
        assert -5 * error < slack.mean() < 2  # a bound in expectation, and not a loose one
    assert bracket.gap.mean() > 0
    finer = bidirectional_monte_carlo(vae, 30, 400, **options)
    assert finer.gap.mean().abs() < 0.2 * bracket.gap.mean()
    for (
        side
    ) in finer:  # eight chains each: the standard errors are guesses themselves, the mean holds
        assert (side.log_prob - truth).mean().abs() < 5 * side.standard_error.mean() / math.sqrt(30)


def test_a_bound_that_is_too_high_would_be_found():
    """Half a nat either way does not pass."""
    vae, exact = linear_gaussian_vae(OBLIQUE)
    x = drawn_images(vae, 10)
    found = annealed_importance_sampling(vae, x, 300, 16, score="density")
    for shift in (-0.5, 0.5):
        with pytest.raises(AssertionError):
            within(found.log_prob + shift, exact.log_prob(x), found.standard_error)


def test_levels_are_annealed_too():
    """A bin inside is a density times its width 1/255, but for 1/24 (width / sigma)^2 per pixel."""
    vae, exact = linear_gaussian_vae(ORTHOGONAL)
    x = torch.randint(51, 205, (8, 1, 4, 4)).double() / 255
    truth = exact.log_prob(x) - 16 * math.log(255)
    annealed = annealed_importance_sampling(vae, x, 200, 64)
    within(annealed.log_prob, truth, annealed.standard_error)
    assert (importance_bound(vae, x, 200) - truth).abs().max() < 0.001


def test_temperatures_go_from_0_to_1():
    t = temperatures(10)
    assert t[0] == 0 and t[-1] == 1 and (t.diff() > 0).all() and len(t) == 11


def test_an_unknown_start_is_refused():
    vae, _ = linear_gaussian_vae()
    with pytest.raises(ValueError, match="start: unknown name 'priors'; did you mean 'prior'"):
        annealed_importance_sampling(vae, drawn_images(vae, 2), 5, start="priors")


def test_the_importance_bound_fails_where_sigma_is_small_and_annealing_does_not():
    """A spoilt encoder and a sharp likelihood: 5,000 samples miss by nats what chains find."""
    vae, exact = linear_gaussian_vae(ORTHOGONAL, spoil=0.5, sigma=0.02)
    x = drawn_images(vae, 10)
    truth = exact.log_prob(x)
    bound = importance_bound(vae, x, 5000, score="density")
    found = annealed_importance_sampling(vae, x, 1000, 16, score="density")
    assert (truth - bound).mean() > 50
    assert (found.log_prob - truth).abs().mean() < 2


# --- gaps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", [0.0, 0.3])
@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_both_gaps_are_the_closed_forms(oblique, spoil):
    vae, exact = linear_gaussian_vae(oblique, spoil)
    x = drawn_images(vae, 10)
    fit = refit_posterior(vae, x, num_steps=300, num_samples=20_000, score="density")
    truth = exact.log_prob(x)
    approximation = truth - fit.elbo
    # The refit is at its optimum to 0.01 nats: that is what Adam leaves after 300 steps.
    error = torch.clamp(fit.elbo_error, min=0.002)
    within(approximation, torch.full_like(truth, exact.approximation_gap), error)
    known = exact.gap(vae.encode(x).base_dist, x) - exact.approximation_gap
    both = torch.clamp(fit.elbo_error + fit.encoder_elbo_error, min=0.002)
    within(fit.amortization_gap, known, both)
    assert (known.mean() > 0.2) if spoil else (known.abs().max() < 1e-9)
    assert torch.allclose(fit.q.loc, exact.posterior(x).loc, rtol=0, atol=0.02)


def test_refitting_leaves_the_weights_alone():
    vae, _ = linear_gaussian_vae()
    before = {k: v.clone() for k, v in vae.state_dict().items()}
    refit_posterior(vae, drawn_images(vae, 2), num_steps=3, num_samples=4, score="density")
    assert all(torch.equal(v, before[k]) for k, v in vae.state_dict().items())
    assert all(p.grad is None for p in vae.parameters())


def test_elbo_terms_add_up():
    assert ElboTerms(torch.ones(2), torch.full((2,), 3.0)).elbo.tolist() == [-4, -4]


# --- sigma after training ---------------------------------------------------------------------------


def test_a_refitted_sigma_is_the_root_mean_squared_error_and_beats_every_other():
    vae, exact = linear_gaussian_vae(ORTHOGONAL, sigma=0.3)
    x = drawn_images(vae, 400)
    other, _ = linear_gaussian_vae(ORTHOGONAL, sigma=0.3)
    other.likelihood.sigma.fill_(0.8)  # what it was given, and not what suits
    refitted = refit_sigma(other, x)
    found = refitted.likelihood.sigma.item()
    q = other.encode(x)
    noise = (q.base_dist.variance @ exact.weight.T**2).view_as(x)
    expected = (x - other.outputs(q.mean)).square() + noise
    error = 5 * 0.5 * found * math.sqrt(2 / x.numel())  # five standard errors of a root of a mean
    assert abs(found - expected.mean().sqrt().item()) < error
    at = {s: _elbo_at(refitted, s, x) for s in (found, 0.98 * found, 1.02 * found)}
    assert max(at, key=at.get) == found
    assert other.likelihood.sigma.item() == 0.8
    assert torch.equal(refitted.encode(x).mean, q.mean)


def _elbo_at(vae, sigma, x):
    vae.likelihood.sigma.fill_(sigma)
    return elbo_terms(vae, x).elbo.mean().item()


def test_a_family_without_one_sigma_is_refused():
    vae = pv.VAE((1, 4, 4), 2, "laplace", hidden=(4,))
    with pytest.raises(ValueError, match="expected a Normal with one sigma, got Laplace"):
        refit_sigma(vae.eval(), torch.zeros(2, 1, 4, 4))
