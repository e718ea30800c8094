"""The aggregate posterior, where Normal closed forms and quadrature know its parts."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from pyro_vae.evaluation.aggregate import (
    aggregate_against_prior,
    aggregate_moments,
    decompose_rate,
    marginal_distances,
)


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def quantiles(num_images):
    """A standard Normal's quantiles at the middles of equal shares: no sampling error. (N, 1)"""
    share = (torch.arange(num_images, dtype=torch.float64) + 0.5) / num_images
    return torch.special.ndtri(share).unsqueeze(1)


def standard_normal_aggregate(num_images, latent_dim, scale):
    """Images drawn at random, whose posteriors mix to N(0, I) in the population."""
    loc = math.sqrt(1 - scale**2) * normal(num_images, latent_dim)
    return loc, torch.full_like(loc, scale)


def agrees(estimate, truth, errors=5):
    return abs(estimate.mean - truth) < errors * estimate.standard_error


# --- the rate and its parts -----------------------------------------------------------------------


def test_one_component_that_mixes_to_the_prior_carries_minus_log_scale():
    """I = rate = -log s, TC = 0 exactly (one component), KL = 0; 5 standard errors."""
    scale = 0.3
    loc = math.sqrt(1 - scale**2) * quantiles(2000)
    parts = decompose_rate(loc, torch.full_like(loc, scale))
    assert agrees(parts.mutual_information, -math.log(scale))
    assert parts.total_correlation == (0, 0)
    assert agrees(parts.dimension_wise_kl, 0) and parts.dimension_wise_kl.standard_error < 1e-3
    assert parts.identified


def three_posteriors():
    loc = torch.tensor([[-1.0, 0.5], [0.2, -0.7], [1.5, 1.0]], dtype=torch.float64)
    scale = torch.tensor([[0.5, 0.8], [0.3, 0.4], [0.9, 0.6]], dtype=torch.float64)
    return loc, scale


def parts_by_quadrature(loc, scale):
    """MI, its leave-one-out bound, TC and each component's KL of a mixture in two dimensions."""
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    z = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    cell = (axis[1] - axis[0]).item() ** 2
    each = torch.stack([Normal(m, s).log_prob(z) for m, s in zip(loc, scale)])
    joint = each.sum(-1)  # (3, 801, 801), logarithms: far out the densities are 0
    mixture, marginals = (v.logsumexp(0) - math.log(3) for v in (joint, each))
    others = torch.stack([joint[[1, 2]], joint[[0, 2]], joint[[0, 1]]]).logsumexp(1) - math.log(2)
    ratios = [mixture - marginals.sum(-1), *(marginals - Normal(0, 1).log_prob(z)).unbind(-1)]
    return [
        *((joint.exp() * (joint - v)).sum().item() * cell / 3 for v in (mixture, others)),
        *((mixture.exp() * ratio).sum().item() * cell for ratio in ratios),
    ]


@pytest.mark.slow
def test_parts_of_three_images_are_those_of_quadrature():
    """A Monte Carlo error from 30 seeds: between images these three differ far more."""
    loc, scale = three_posteriors()
    exact = parts_by_quadrature(loc, scale)
    rows = []
    for seed in range(30):
        parts = decompose_rate(loc, scale, num_samples=1000, seed=seed)
        three = parts.mutual_information, parts.mutual_information_upper, parts.total_correlation
        rows.append([p.mean for p in (*three, *parts.dimension_wise_kl_per_component)])
    error = np.std(rows, axis=0, ddof=1) / math.sqrt(30)
    assert (error < [0.003, 0.03, 0.003, 0.003, 0.003]).all()  # else what follows could not fail
    assert (np.abs(np.mean(rows, axis=0) - exact) < 5 * error).all()


def test_the_parts_sum_to_the_closed_rate_within_the_error_of_sampling():
    loc, scale = normal(500, 3), normal(500, 3).exp()
    parts = decompose_rate(loc, scale, num_samples=2, seed=10_000)  # other noise than that of loc
    total = parts.mutual_information.mean + parts.total_correlation.mean
    total += parts.dimension_wise_kl.mean
    assert total - parts.rate.mean == pytest.approx(parts.sampling_gap.mean, abs=1e-12)  # rounding
    assert agrees(parts.sampling_gap, 0)
    closed = torch.distributions.kl_divergence(Normal(loc, scale), Normal(0.0, 1.0)).sum(-1)
    assert parts.rate.mean == pytest.approx(closed.mean().item(), rel=1e-12)
    summed = sum(c.mean for c in parts.dimension_wise_kl_per_component)
    assert summed == pytest.approx(parts.dimension_wise_kl.mean, abs=1e-12)


@pytest.mark.slow
def test_standard_errors_are_the_spread_over_new_images():
    """200 sets of images: the variance of each part against its squared error, by chi-squared."""
    values, errors = [], []
    for seed in range(200):
        loc, scale = standard_normal_aggregate(200, 2, 0.5)
        loc = loc @ torch.tensor([[1.0, 0.8], [0.0, 0.6]], dtype=torch.float64) + 0.3
        parts = decompose_rate(loc, scale, seed=10_000 + seed)
        three = parts.mutual_information, parts.total_correlation, parts.dimension_wise_kl
        values.append([p.mean for p in three])
        errors.append([p.standard_error for p in three])
    ratio = 199 * np.var(values, axis=0, ddof=1) / np.mean(np.square(errors), axis=0)
    p = 2 * np.minimum(stats.chi2(199).cdf(ratio), stats.chi2(199).sf(ratio))
    assert (p > 1e-3).all()


@pytest.mark.parametrize("num_paired, identified", [(0, False), (70, False), (74, True)])
def test_identified_means_half_a_nat_below_log_n(num_paired, identified):
    """Of 100 images some share a posterior with one other and the rest stand alone.

    So log q(z|x) - log q(z) is log 50 or log 100, and its mean and spread are exact.
    """
    places = torch.arange(100.0)
    places[1:num_paired:2] -= 1
    parts = decompose_rate(places.unsqueeze(1), torch.full((100, 1), 1e-3), num_samples=3)
    share = num_paired / 100
    information, error = parts.mutual_information
    assert information == pytest.approx(math.log(100) - share * math.log(2), abs=1e-9)
    spread = math.log(2) * math.sqrt(share * (1 - share) / 99)
    assert error == pytest.approx(spread, abs=1e-9)
    assert parts.identified == identified  # 0.485 and 0.513 nats below log 100


def test_the_two_bounds_hold_the_information_of_the_population():
    """-8 log 0.5 = 5.545 nats with only log 300 = 5.70 to tell them: short below, over above."""
    lower, upper = [], []
    for seed in range(20):
        loc, scale = standard_normal_aggregate(300, 8, 0.5)
        parts = decompose_rate(loc, scale, seed=10_000 + seed)
        lower.append(parts.mutual_information.mean)
        upper.append(parts.mutual_information_upper.mean)
    truth, root = -8 * math.log(0.5), math.sqrt(20)
    assert np.mean(lower) + 5 * np.std(lower) / root < truth
    assert truth < np.mean(upper) - 5 * np.std(upper) / root
    assert truth - 1.5 < np.mean(lower) and np.mean(upper) < truth + 3


def test_a_single_image_tells_nothing_and_one_component_has_no_correlation():
    parts = decompose_rate(torch.ones(1, 2), torch.ones(1, 2) / 2)
    assert parts.mutual_information.mean == 0 and parts.mutual_information_upper.mean == math.inf
    assert math.isnan(parts.rate.standard_error) and not parts.identified
    assert aggregate_moments(torch.zeros(4, 1), torch.ones(4, 1)).largest_correlation == 0


def test_the_parts_do_not_depend_on_how_much_fits_in_memory(monkeypatch):
    loc, scale = normal(30, 2), normal(30, 2).exp()
    whole = decompose_rate(loc, scale, num_samples=3)
    monkeypatch.setattr("pyro_vae.evaluation.aggregate._NUMBERS_AT_ONCE", 1)
    pieces = decompose_rate(loc, scale, num_samples=3)
    assert pieces.mutual_information.mean == pytest.approx(whole.mutual_information.mean, rel=1e-12)
    assert pieces.total_correlation.mean == pytest.approx(whole.total_correlation.mean, rel=1e-12)
    distances = marginal_distances(loc, scale)
    monkeypatch.undo()
    assert torch.allclose(distances, marginal_distances(loc, scale), rtol=1e-12)


def test_draws_repeat_with_the_seed_and_leave_the_callers_alone():
    loc, scale = normal(40, 2), normal(40, 2).exp()
    state = torch.get_rng_state()
    for function in (decompose_rate, aggregate_against_prior):
        first, again, other = (function(loc, scale, seed=s) for s in (1, 1, 2))
        assert str(first) == str(again) != str(other)
    assert torch.equal(state, torch.get_rng_state())


# --- against the prior ----------------------------------------------------------------------------


def test_moments_are_those_of_the_mixture():
    loc, scale = normal(50, 3) @ normal(3, 3), normal(50, 3).exp()
    moments = aggregate_moments(loc, scale)
    m, s = loc.numpy(), scale.numpy()
    second = np.mean([np.outer(a, a) + np.diag(b**2) for a, b in zip(m, s)], axis=0)
    covariance = second - np.outer(m.mean(0), m.mean(0))
    assert np.allclose(moments.mean, m.mean(0), rtol=0, atol=1e-12)
    assert np.allclose(moments.covariance, covariance, rtol=0, atol=1e-12)
    root = np.sqrt(np.diag(covariance))
    correlation = np.abs(covariance / np.outer(root, root))[~np.eye(3, dtype=bool)]
    assert moments.largest_mean == pytest.approx(np.abs(m.mean(0)).max(), abs=1e-12)
    assert moments.smallest_variance == pytest.approx(np.diag(covariance).min(), abs=1e-12)
    assert moments.largest_variance == pytest.approx(np.diag(covariance).max(), abs=1e-12)
    assert moments.largest_correlation == pytest.approx(correlation.max(), abs=1e-12)


def test_marginal_distances_to_the_prior():
    """Known suprema, within the grid's 1/1000: a shift m gives 2 Phi(m/2) - 1, a spike one half."""
    loc = torch.cat([math.sqrt(0.75) * quantiles(2000)] * 4, 1)
    loc += torch.tensor([0.0, 0.2, -1.5, 9.0])
    distances = marginal_distances(loc, torch.full_like(loc, 0.5))
    known = [math.erf(m / 2 / math.sqrt(2)) for m in (0, 0.2, 1.5, 9)]
    assert distances.tolist() == pytest.approx(known, abs=1e-3)
    spike = marginal_distances(torch.zeros(3, 1), torch.full((3, 1), 1e-6))
    assert spike.item() == pytest.approx(0.5 - 1 / 1000, abs=1e-12)  # the step lies on the grid


def test_a_good_aggregate_passes_at_the_level_of_the_test():
    """100 sets of images that mix to the prior: p <= 0.05 as often as it should, by a p-value."""
    rejected = 0
    for seed in range(100):
        loc, scale = standard_normal_aggregate(50, 2, 0.4)
        check = aggregate_against_prior(loc, scale, seed=10_000 + seed, num_permutations=99)
        rejected += check.mmd.p_value <= 0.05
    assert stats.binomtest(rejected, 100, 0.05).pvalue > 1e-3


@pytest.mark.parametrize("shift, spread", [(0.6, 1.0), (0.0, 0.4)])
def test_a_displaced_or_narrow_aggregate_is_found(shift, spread):
    loc, scale = standard_normal_aggregate(1200, 2, 0.4)
    check = aggregate_against_prior(spread * loc + shift, spread * scale, num_samples=300)
    assert check.mmd.p_value == pytest.approx(1 / 501)
    # a random image's loc has sd under 1: 5 standard errors of 1,200 are 0.15 (mean), 0.2 (variance)
    assert check.moments.largest_mean == pytest.approx(shift, abs=0.15)
    assert check.moments.largest_variance == pytest.approx(spread**2, abs=0.2)
    assert check.marginal_distances.min() > 0.15


def test_collapse_has_no_parts_and_passes_every_check_against_the_prior():
    """Log ratios of equal densities are 0 to rounding; only the rate, 0 as well, tells."""
    check = aggregate_against_prior(torch.zeros(400, 2), torch.ones(400, 2))
    assert check.mmd.p_value > 0.05
    assert check.marginal_distances.max() < 1e-12
    parts = decompose_rate(torch.zeros(200, 3), torch.ones(200, 3))
    means = [parts.rate, parts.mutual_information, parts.mutual_information_upper]
    means += [parts.total_correlation, parts.dimension_wise_kl]
    assert all(e.mean == pytest.approx(0, abs=1e-12) for e in means) and parts.identified
    assert check.moments.largest_mean == 0 == check.moments.largest_correlation
    assert check.moments.smallest_variance == 1 == check.moments.largest_variance


@pytest.mark.cuda
def test_a_gpu_gives_the_same_closed_forms():
    """To rounding; and its draws, though others, agree within 5 standard errors of each."""
    torch.manual_seed(1)  # of its own: with the seed of the draws, these would repeat the means
    loc, scale = standard_normal_aggregate(400, 3, 0.5)
    on_gpu = loc.cuda(), scale.cuda()
    assert torch.allclose(marginal_distances(*on_gpu).cpu(), marginal_distances(loc, scale))
    state, cuda_state = torch.get_rng_state(), torch.cuda.get_rng_state()
    parts, same = decompose_rate(loc, scale), decompose_rate(*on_gpu)
    assert same.rate.mean == pytest.approx(parts.rate.mean, abs=1e-12)
    assert agrees(same.mutual_information, parts.mutual_information.mean)
    assert aggregate_against_prior(*on_gpu).mmd.p_value > 0.001
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(cuda_state, torch.cuda.get_rng_state())


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [decompose_rate, aggregate_against_prior, aggregate_moments])
def test_posteriors_are_checked(function):
    with pytest.raises(ValueError, match=r"loc: expected \(N, latent_dim\), got shape \(3,\)"):
        function(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match=r"scale: expected the shape of loc, \(3, 2\), got \(3,"):
        function(torch.zeros(3, 2), torch.ones(3, 1))
    with pytest.raises(ValueError, match="scale: expected positive numbers, got a least of 0"):
        function(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="loc: expected finite numbers, got nan or inf"):
        function(torch.full((3, 2), torch.nan), torch.ones(3, 2))


def test_numbers_of_samples_are_checked():
    loc, scale = torch.zeros(3, 2), torch.ones(3, 2)
    with pytest.raises(ValueError, match="num_samples: expected at least 1, got 0"):
        decompose_rate(loc, scale, num_samples=0)
    with pytest.raises(ValueError, match=r"num_samples, N: expected at least 2 .* got 1 and 3"):
        aggregate_against_prior(loc, scale, num_samples=1)
    with pytest.raises(ValueError, match=r"num_samples, N: expected at least 2 .* got 1000 and 1"):
        aggregate_against_prior(loc[:1], scale[:1])
    with pytest.raises(ValueError, match="num_permutations: expected at least 1, got 0"):
        aggregate_against_prior(loc, scale, num_permutations=0)
