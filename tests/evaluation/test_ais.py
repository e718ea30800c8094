"""Annealed importance sampling, where log p(x) is known."""

import importlib.util
import math
from dataclasses import replace

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.ais import (
    Annealed,
    Annealing,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
    log_mean_weight,
    shortfall,
)
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.tempering import (
    KEPT_MOMENTUM,
    PILOT_CHAINS,
    STARTS,
    TUNED,
    TemperedPath,
    fitted_normal,
)
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.models.priors import NormalPrior
from pyro_vae.randomness import seeded
from tests.support.house import ROOT
from tests.support.linear_gaussian import (
    OBLIQUE,
    ORTHOGONAL,
    assert_within,
    drawn_images,
    linear_gaussian_vae,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "oblique, start", [(ORTHOGONAL, "posterior"), (OBLIQUE, "posterior"), (OBLIQUE, "prior")]
)
def test_annealing_finds_log_p(oblique, start):
    vae, exact = linear_gaussian_vae(oblique)
    x = drawn_images(vae, 8)
    leapfrogs = 5 if start == "prior" else 1
    annealing = Annealing(200, 32, leapfrogs, start, score="density")
    found = annealed_importance_sampling(vae, x, annealing)
    assert_within(found.log_prob, exact.log_prob(x), found.standard_error)
    if (
        start == "posterior"
    ):  # it starts close to where it ends, with the correlations of the posterior
        assert found.deviation.max() < 0.2
    assert 0.5 < found.acceptance.mean() < 0.95


@pytest.mark.parametrize("start, temperatures", [("posterior", 6), ("prior", 30)])
def test_the_mean_weight_is_the_probability(start, temperatures):
    """One chain for each of 3,000 copies of an image; what pilot runs choose must not depend on it."""
    vae, exact = linear_gaussian_vae(OBLIQUE, spoil=0.3)
    x = drawn_images(vae, 1)
    annealing = Annealing(temperatures, num_chains=1, start=start, score="density")
    found = annealed_importance_sampling(vae, x.expand(3000, -1, -1, -1), annealing)
    weights = (found.log_prob - exact.log_prob(x)).exp()
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.1 and abs(weights.mean() - 1) < 5 * error


@pytest.mark.slow
def test_nothing_is_decoded_twice():
    """A code for each leapfrog step, and one at the start, of each chain and of each pilot chain.

    One more tells how much work it is.
    """
    vae, _ = linear_gaussian_vae()
    x, decoded = drawn_images(vae, 2), []
    vae.decoder.register_forward_hook(lambda *_: decoded.append(len(_[1][0])))
    for start in STARTS:
        decoded.clear()
        annealing = Annealing(TUNED, 7, num_leapfrog=3, start=start, score="density")
        annealed_importance_sampling(vae, x, annealing)
        pilots = PILOT_CHAINS * (1 + STARTS.index(start))
        assert sum(decoded) == 1 + 2 * (7 + pilots) * (1 + 3 * (TUNED - 1))


class Flat:
    """A log p(x, z) of zero, which temperature 0 does not see."""

    prior = None

    def __call__(self, x, z):
        return z.new_zeros(z.shape[:-1]), torch.zeros_like(z)


@pytest.mark.parametrize("leapfrogs", [1, 4])
def test_leapfrogs_turn_round_the_origin(leapfrogs):
    """In a standard Normal a step of h is a turn by arccos(1 - h^2 / 2) on an ellipse."""
    loc, factor = torch.zeros(5, 2).double(), torch.eye(2).double().expand(5, 2, 2)
    path = TemperedPath(Flat(), torch.zeros(5, 1), Annealing(num_leapfrog=leapfrogs), loc, factor)
    torch.manual_seed(0)
    chains, h = path.draw(40), 0.3
    noise = torch.Generator().manual_seed(1)
    kept = KEPT_MOMENTUM**leapfrogs
    u, momentum = chains.at.u, kept * chains.momentum
    momentum = momentum + math.sqrt(1 - kept**2) * torch.randn(
        u.shape, generator=noise, dtype=u.dtype
    )
    torch.manual_seed(1)
    moved, accept = path.move(chains, 0.0, torch.full((5,), h, dtype=u.dtype))
    turn = leapfrogs * math.acos(1 - h**2 / 2)
    there = u * math.cos(turn) + momentum * math.sin(turn) / math.sqrt(1 - h**2 / 4)
    taken = (moved.at.u != u).any(-1)
    assert taken.double().mean() > 0.9 and accept.mean() > 0.9
    assert torch.allclose(moved.at.u[taken], there[taken], rtol=0, atol=1e-12)


def test_a_fitted_normal_has_the_moments_of_its_draws_and_an_inverse():
    torch.manual_seed(0)
    factor = torch.tensor([[2.0, 0.0], [1.5, 0.5]]).double()
    loc, found = fitted_normal(3 + torch.randn(40_000, 1, 2).double() @ factor.T)
    assert torch.allclose(loc, torch.full_like(loc, 3), atol=5 * 2 / 200)
    assert torch.allclose(found[0] @ found[0].T, factor @ factor.T, atol=5 * 4 * 1.5 / 200)
    _, found = fitted_normal(torch.ones(2, 1, 3))  # chains that never moved
    assert (found.diagonal(dim1=-2, dim2=-1) > 0).all()


@pytest.mark.slow
def test_bidirectional_monte_carlo_brackets_log_p():
    vae, exact = linear_gaussian_vae(OBLIQUE)
    annealing = Annealing(40, num_chains=8, score="density")
    bracket = bidirectional_monte_carlo(vae, 30, annealing, seed=5)
    with seeded(5), torch.no_grad():
        x = vae.decode(vae.prior.sample((30,))).sample()
    truth = exact.log_prob(x)
    for side, sign in ((bracket.lower, 1), (bracket.upper, -1)):
        slack = sign * (truth - side.log_prob)
        error = slack.std() / math.sqrt(30)
        assert -5 * error < slack.mean() < 2  # a bound in expectation, and not a loose one
    assert bracket.gap.mean() > 0
    finer = bidirectional_monte_carlo(vae, 30, replace(annealing, num_temperatures=300), seed=5)
    assert finer.gap.mean().abs() < 0.2 * bracket.gap.mean()
    for side in finer:
        off = side.log_prob - truth
        assert off.mean().abs() < 5 * off.std() / math.sqrt(30)
    assert finer.upper.standard_error.isnan().all(), "all chains of an image start at one draw"


@pytest.mark.parametrize("deviation", [0.1, 1.0, 5.0, 10.0])
def test_the_error_of_the_log_of_a_mean_is_that_over_repeats(deviation):
    """Log weights of deviation 10: the error is 5.3 nats, and by the delta method 0.9."""
    torch.manual_seed(0)
    log_weights = deviation * torch.randn(16, 20_000, dtype=torch.float64)
    log_mean, error, size = log_mean_weight(log_weights)
    assert torch.allclose(log_mean, log_weights.exp().mean(0).log())
    weights = log_weights.exp()
    assert torch.allclose(size, weights.sum(0) ** 2 / weights.square().sum(0))
    true = log_mean.std()
    assert 0.95 * true < error.square().mean().sqrt() < 1.15 * true


def test_a_single_chain_has_no_error_and_few_are_counted():
    rows = [[-1.0] * 3, [0.1] * 3, [2.9, 3.1, 3.1], [0.6] * 3, [0.9, 0.9, 1.1], [0.2] * 3]
    few = Annealed(*torch.tensor(rows))
    assert few.of_few_chains.tolist() == [True, False, False]
    assert few.unsure.tolist() == [True, False, True]
    assert torch.allclose(few.error, torch.full((3,), 0.3))
    log_mean, error, size = log_mean_weight(torch.tensor([[-2.0, 3.0]]))
    assert log_mean.tolist() == [-2, 3] and error.isnan().all() and size.tolist() == [1, 1]
    _, error, _ = log_mean_weight(torch.tensor([[1.0], [4.0]]))
    assert error.item() == pytest.approx(1.5)  # the jackknife of two is half their distance


NUM_IMAGES = 20  # of a mean


def covered(off, error, bias):
    """The shares of truths within two errors: of single images, and of means over images."""
    mean = off.reshape(NUM_IMAGES, -1).mean(0).abs()
    chance = error.reshape(NUM_IMAGES, -1).square().sum(0).sqrt() / NUM_IMAGES
    of_means = mean < 2 * (chance + bias.reshape(NUM_IMAGES, -1).mean(0))
    return (off.abs() < 2 * (error + bias)).double().mean(), of_means.double().mean()


@pytest.mark.parametrize("deviation, silent", [(0.3, True), (1.0, None), (2.0, None), (3.0, False)])
def test_the_truth_lies_within_two_errors_of_the_log_of_a_mean(deviation, silent):
    """Normal log weights: 16 of deviation 3 lie 1.4 nats low, which their own error does not see.

    Of single images, a deviation of 16 numbers is uncertain by a fifth, so that 90% hold and not 95%.
    """
    torch.manual_seed(0)
    count = 20_000
    log_weights = deviation * torch.randn(16, count, dtype=torch.float64) - deviation**2 / 2
    off, error, size = log_mean_weight(log_weights)
    spread, bias = shortfall(log_weights, off, error)
    single, of_means = covered(off, error, bias)
    chance = 5 * math.sqrt(0.09 / count)
    assert single > 0.9 - chance and of_means > 0.95 - 5 * math.sqrt(0.05 * NUM_IMAGES / count)
    assert -0.9 * off.mean() < bias.mean() < -2 * off.mean() + 0.01
    if deviation == 3.0:
        alone, means_alone = covered(off, error, torch.zeros_like(bias))
        assert alone < 0.6 and means_alone < 0.1 and -1.5 < off.mean() < -1.3
    flagged = Annealed(off, error, size, size, spread, bias).unsure.double().mean()
    assert silent is None or (flagged < 0.001 if silent else flagged > 0.999)


@pytest.mark.slow
@pytest.mark.parametrize(
    "start, num_temperatures", [("prior", 10), ("prior", 50), ("posterior", 10)]
)
def test_means_of_few_temperatures_are_as_wrong_as_they_say(start, num_temperatures):
    vae, exact = linear_gaussian_vae(OBLIQUE)
    x = drawn_images(vae, 20 * NUM_IMAGES)
    annealing = Annealing(num_temperatures, 16, start=start, score="density")
    found = annealed_importance_sampling(vae, x, annealing, seed=1)
    off = found.log_prob - exact.log_prob(x)
    _, of_means = covered(off, found.standard_error, found.bias)
    assert of_means >= 0.9  # 18 of 20, as 95% do in 92% of repeats
    assert found.bias.min() >= 0 and off.mean() > -2 * found.bias.mean()
    if start == "prior":
        assert covered(off, found.standard_error, torch.zeros_like(off))[1] < 0.75
        assert found.unsure.double().mean() > 0.5


@pytest.mark.slow
def test_levels_are_annealed_too():
    """A bin inside is a density times its width 1/255, but for 1/24 (width / sigma)^2 per pixel."""
    vae, exact = linear_gaussian_vae(ORTHOGONAL)
    x = torch.randint(51, 205, (8, 1, 4, 4)).double() / 255
    truth = exact.log_prob(x) - 16 * math.log(255)
    annealed = annealed_importance_sampling(vae, x, Annealing(200, 32))
    assert_within(annealed.log_prob, truth, annealed.standard_error)
    assert (importance_bound(vae, x, 200).log_prob - truth).abs().max() < 0.001


def test_names_that_are_unknown_are_refused():
    with pytest.raises(ValueError, match="start: unknown name 'priors'; did you mean 'prior'"):
        Annealing(start="priors")
    vae, _ = linear_gaussian_vae()
    with pytest.raises(ValueError, match="score: unknown name 'level'; did you mean 'levels'"):
        annealed_importance_sampling(vae, drawn_images(vae, 2), Annealing(5, score="level"))


def test_temperatures_go_from_0_to_1():
    t = torch.tensor(Annealing(10).temperatures)
    assert t[0] == 0 and t[-1] == 1 and (t.diff() > 0).all() and len(t) == 11


@pytest.mark.slow
def test_the_importance_bound_fails_where_sigma_is_small_and_annealing_does_not():
    """A spoilt encoder and a sharp likelihood: 5,000 samples miss by nats what chains find."""
    vae, exact = linear_gaussian_vae(ORTHOGONAL, spoil=0.5, sigma=0.02)
    x = drawn_images(vae, 4)
    truth = exact.log_prob(x)
    bound = importance_bound(vae, x, 5000, score="density").log_prob
    found = annealed_importance_sampling(vae, x, Annealing(400, 16, score="density"))
    assert (truth - bound).mean() > 50
    assert (found.log_prob - truth).abs().mean() < 2


def test_results_are_annealed_by_the_plan(monkeypatch):
    path = ROOT / "results" / "measures.py"
    spec = importlib.util.spec_from_file_location("measures_of_results", path)
    measures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(measures)
    asked = []
    monkeypatch.setattr(measures, "annealed_importance_sampling", lambda *_: asked.append(_[2]))
    measures.anneal(None, None, {"temperatures": 150, "chains": 8, "leapfrogs": 3}, times=4)
    assert asked == [Annealing(600, 8, num_leapfrog=3, start="posterior")]


class Wider(NormalPrior):
    """Not the standard Normal, although of its class."""

    def forward(self):
        prior = super().forward()
        return Normal(prior.mean, 3 * prior.stddev).to_event(1)


def test_a_prior_of_the_same_class_need_not_be_standard():
    """Annealing finds the mean likelihood of draws from it."""
    torch.manual_seed(0)
    vae = pv.VAE((1, 2, 2), 2, "gaussian_fixed_sigma", hidden=(4,), sigma=1.0).eval()
    x = torch.rand(3, 1, 2, 2)
    vae.prior_module = Wider(2)
    annealing = Annealing(10, 2000, score="density")
    found = annealed_importance_sampling(vae, x, annealing)
    with torch.no_grad():
        likelihood = vae.decode(vae.prior.sample((100_000, 1))).log_prob(x)
    expected = likelihood.logsumexp(0) - math.log(100_000)
    assert ((found.log_prob - expected).abs() < 5 * found.standard_error + 0.01).all()
