"""Missing pixels of a linear Gaussian VAE, whose marginals and conditionals are known."""

import copy
import math

import pytest
import torch
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.evaluation.bounds import importance_bound, log_weights
from pyro_vae.evaluation.imputation import imputation_error, impute, with_hidden_pixels
from tests.support.linear_gaussian import (
    ORTHOGONAL,
    assert_within,
    collapsed,
    drawn_images,
    linear_gaussian_vae,
    linear_layers,
)

K = 2000


def conditional(exact, x):
    """For an image with NaN: log p(observed), the mean and the covariance of the missing pixels."""
    x, there = x.flatten(), ~x.isnan().flatten()
    covariance = exact.weight @ exact.weight.T + exact.sigma**2 * torch.eye(16).double()
    mean, known = exact.bias, covariance[there][:, there]
    log_prob = MultivariateNormal(mean[there], known).log_prob(x[there])
    gain = torch.linalg.solve(known, covariance[there][:, ~there]).T
    left = covariance[~there][:, ~there] - gain @ covariance[there][:, ~there]
    return log_prob, mean[~there] + gain @ (x - mean)[there], left


@pytest.fixture(scope="module")
def scene():
    """A model with its closed forms, whole images, and the same with other holes in each.

    Its q is the prior, which covers the posterior of few pixels too.
    """
    vae, exact = linear_gaussian_vae(ORTHOGONAL, sigma=1.0)
    images = drawn_images(collapsed(vae), 200)
    return vae, exact, images, with_hidden_pixels(images, 0.3)


def reliable(sizes):
    """The images whose draws are effectively a hundred, which most must be."""
    chosen = sizes > 100
    assert chosen.float().mean() > 0.8
    return chosen


def test_the_bound_is_that_of_the_observed_pixels(scene):
    vae, exact, _, x = scene
    given = vae.given(missing=True)
    bound = importance_bound(given, x, K, score="density")
    truth = torch.stack([conditional(exact, image)[0] for image in x])
    weights = log_weights(given, x, given.encode(x), K, "density")
    error = (weights - weights.logsumexp(0) + math.log(K)).exp().std(0) / math.sqrt(K)
    chosen = reliable(bound.effective_sample_size)
    assert_within(bound.log_prob[chosen], truth[chosen], error[chosen])


@pytest.mark.parametrize("count, at_once", [(200, 10**6), (200, 300), (10, 10)])
def test_imputed_pixels_are_conditional_expectations(scene, monkeypatch, count, at_once):
    """Within 5 standard errors, of draws in number as their effective size, in pieces or not."""
    vae, exact, *both = scene
    images, x = (part[:count] for part in both)
    monkeypatch.setattr("pyro_vae.evaluation.bounds._NUMBERS_AT_ONCE", 8 * 16 * at_once)
    done = []
    found = impute(vae, x, K, progress=lambda *count: done.append(count))
    assert done[-1] == (count, count, "images") and len(done) == (count if at_once < K else 1)
    assert torch.equal(found.images[~x.isnan()], images[~x.isnan()])
    for n in reliable(found.effective_sample_size).nonzero():
        _, mean, covariance = conditional(exact, x[n])
        error = ((covariance.diagonal() - 1) / found.effective_sample_size[n]).sqrt()
        assert ((found.images[n][x[n].isnan()] - mean).abs() < 5 * error).all()


def test_the_error_is_that_of_the_closed_form_and_smaller_than_the_mean_images(scene):
    """Means over images within 5 standard errors; a decoder with another bias has a larger one."""
    vae, exact, images, x = scene
    mean = exact.bias.view(1, 4, 4)
    found = imputation_error(vae, images, x, mean, K, score="density")
    rows = [(*conditional(exact, image), whole) for image, whole in zip(x, images)]
    squared = torch.stack([covariance.diagonal().mean() for _, _, covariance, _ in rows])
    log_prob = torch.stack([(exact.log_prob(w[None])[0] - log_p) / 5 for log_p, _, _, w in rows])
    variance = (exact.weight.square().sum(1) + exact.sigma**2).view(1, 4, 4) * x.isnan()
    expected = (squared.mean(), variance.flatten(1).sum(1).mean() / 5, log_prob.mean())
    for figure, truth in zip(found, expected):
        assert abs(figure.mean - truth) < 5 * figure.standard_error
    assert found.squared_error.mean < found.squared_error_of_mean.mean
    wrong = copy.deepcopy(vae)
    with torch.no_grad():
        linear_layers(wrong)[1].bias.add_(1)
    of_wrong = imputation_error(wrong, images, x, mean, 100, score="density")
    assert of_wrong.squared_error.mean - expected[0] > 5 * of_wrong.squared_error.standard_error
    assert of_wrong.log_prob.mean - expected[2] < -5 * of_wrong.log_prob.standard_error


def test_a_share_of_the_pixels_is_hidden_in_all_channels():
    images = torch.rand(7, 3, 5, 4)
    x = with_hidden_pixels(images, 0.25, seed=2)
    hidden = x.isnan()
    assert (hidden.sum((1, 2, 3)) == 15).all() and (hidden == hidden[:, :1]).all()
    assert torch.equal(x[~hidden], images[~hidden]) and not hidden[0].equal(hidden[1])
    assert torch.equal(with_hidden_pixels(images, 0.25, 2).isnan(), hidden)
    assert not torch.equal(with_hidden_pixels(images, 0.25, 3).isnan(), hidden)
    for share in (0, 1, 1.5):
        with pytest.raises(ValueError, match="share: expected a number between 0 and 1, got"):
            with_hidden_pixels(images, share)


def test_what_cannot_be_imputed_is_refused_and_what_is_no_likelihood_has_no_log_prob(digits):
    images = digits.test.images[:9]
    x, mean = with_hidden_pixels(images, 0.5), images.mean(0)
    with pytest.raises(ValueError, match="vae: an autoencoder has no importance weights"):
        impute(pv.Autoencoder((1, 8, 8)), x)
    vae = pv.VAE((1, 8, 8), likelihood="bernoulli", levels=17).eval()
    assert imputation_error(vae, images, x, mean).log_prob is None
    with pytest.raises(ValueError, match="with_missing: expected a missing pixel"):
        imputation_error(vae, images, images, mean)
