"""Densities fitted to codes, against closed forms, and in place of the prior."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.samples import frechet_distance
from pyro_vae.models.fitted import FITTED, REGULARISATION
from pyro_vae.randomness import seeded
from tests.support.linear_gaussian import assert_within, drawn_images, linear_gaussian_vae
from tests.support.programs import images, model


def autoencoder_of(codes):
    """An autoencoder whose codes are its images, in float64, and the images with these codes (N, 2)."""
    decoder = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Unflatten(-1, (1, 1, 2)))
    network = torch.nn.Flatten(), decoder
    vae = pv.Autoencoder((1, 1, 2), 2, "gaussian_fixed_sigma", network, sigma=0.1)
    return vae.double().eval(), codes.double().view(-1, 1, 1, 2)


def clusters(count=600):
    """Codes of three far clusters, of 1/2, 1/3 and 1/6 of the rows, and the cluster of each."""
    which = torch.tensor([0, 0, 0, 1, 1, 2]).repeat(count // 6)
    centres = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 300.0]]).double()
    shapes = torch.tensor([[[1.0, 0.0], [0.9, 0.3]], [[2.0, 0.0], [0.0, 0.5]], [[1.0, 0], [-2, 1]]])
    noise = torch.randn(count, 2, 1).double()
    return centres[which] + (shapes[which].double() @ noise).squeeze(-1), which


def moments(z):
    """The mean of rows, and their covariance as the likelihood's maximiser has it."""
    return z.mean(0), z.T.cov(correction=0)


@pytest.mark.parametrize("kind", FITTED)
def test_the_moments_are_those_of_the_codes(kind):
    """Exact for a Normal; and for a mixture, since every step of EM keeps them."""
    codes, _ = clusters()
    vae, x = autoencoder_of(codes)
    prior = pv.fit_prior(vae, x, kind).prior
    weights, parts = prior.mixture_distribution.probs, prior.component_distribution
    mean = weights @ parts.mean
    between = torch.einsum("k,ki,kj->ij", weights, parts.mean - mean, parts.mean - mean)
    covariance = torch.einsum("k,kij->ij", weights, parts.covariance_matrix) + between
    expected_mean, expected = moments(codes)
    assert torch.allclose(mean, expected_mean, rtol=1e-9)
    assert torch.allclose(covariance, expected + REGULARISATION * torch.eye(2), rtol=1e-9)
    if kind == "gaussian":
        exact = stats.multivariate_normal(mean, covariance).logpdf(codes)
        assert prior.log_prob(codes).numpy() == pytest.approx(exact, rel=1e-9)


def test_a_mixture_has_the_clusters_that_codes_have():
    """Clusters are so far apart that EM keeps the share and the moments of each exactly.

    Draws: none lies between them, and their shares are within 5 standard errors.
    """
    codes, which = clusters()
    vae, x = autoencoder_of(codes)
    prior = pv.fit_prior(vae, x, "mixture").prior
    weights, parts = prior.mixture_distribution.probs, prior.component_distribution
    centres = torch.stack([codes[which == k].mean(0) for k in range(3)])
    nearest = torch.cdist(parts.mean, centres).argmin(1)
    z = prior.sample((6000,))
    distances, drawn = torch.cdist(z, centres).min(1)
    assert distances.max() < 20
    for k, share in enumerate((1 / 2, 1 / 3, 1 / 6)):
        own = weights * (nearest == k)
        assert own.sum().item() == pytest.approx(share, rel=1e-9)
        assert torch.allclose(own @ parts.mean / share, centres[k], rtol=1e-9, atol=1e-9)
        error = math.sqrt(share * (1 - share) / len(z))
        assert (drawn == k).double().mean().item() == pytest.approx(share, abs=5 * error)
    normal = pv.fit_prior(vae, x, "gaussian").prior.sample((6000,))
    assert (torch.cdist(normal, centres).amin(1) > 20).double().mean() > 0.5


def test_codes_of_a_vae_are_draws_of_its_posterior():
    vae, x = model().eval(), images(40)
    with seeded(3):
        z = vae.encode(x).sample()
    prior = pv.fit_prior(vae, x, "gaussian", seed=3).prior
    assert torch.allclose(prior.mean, z.mean(0), atol=1e-6)
    variance = z.var(0, correction=0) + REGULARISATION
    assert torch.allclose(prior.variance, variance, rtol=1e-4)


@pytest.mark.slow
def test_the_evidence_under_a_fitted_normal_is_in_closed_form():
    """And where the aggregate posterior is the prior, it is that under the prior but for the fit.

    The images are the model's own, and q is the posterior, so that codes follow N(0, I). What their
    number N leaves between the fit and N(0, I) is a KL, of which 2 N times is a chi square of nine
    degrees of freedom; the images see no more of it than the codes.
    """
    vae, exact = linear_gaussian_vae()
    train, x = drawn_images(vae, 20_000), drawn_images(vae, 400, seed=2)
    fitted = pv.fit_prior(vae, train, "gaussian")
    parts = fitted.prior.component_distribution
    weight, offset = (p.detach() for p in vae.decoder.parameters())
    noise = 0.5**2 * torch.eye(16).double()
    covariance = weight @ parts.covariance_matrix[0] @ weight.T + noise
    log_prob = MultivariateNormal(weight @ parts.mean[0] + offset, covariance).log_prob(
        x.flatten(1)
    )
    bound = importance_bound(fitted, x, 4000, score="density")
    spread = (1 / bound.effective_sample_size - 1 / 4000).clamp(min=0).sqrt()
    assert_within(bound.log_prob, log_prob, spread)
    gain = log_prob - exact.log_prob(x)
    error = gain.std() / len(x) ** 0.5
    assert -stats.chi2(9).isf(1e-6) / 40_000 - 5 * error < gain.mean() < 5 * error


def test_the_model_itself_keeps_its_prior_and_its_weights():
    vae, x = model(prior="vamp").eval(), images(40)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    state = torch.get_rng_state()
    fitted = pv.fit_prior(vae, x)
    assert torch.equal(state, torch.get_rng_state()) and fitted.name != vae.name
    assert before.keys() == vae.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert torch.equal(fitted.encode(x).mean, vae.encode(x).mean)
    again, other = pv.fit_prior(vae, x), pv.fit_prior(vae, x, seed=2**40 + 1)
    z = torch.randn(5, 2)
    assert torch.equal(again.prior.log_prob(z), fitted.prior.log_prob(z))
    assert not torch.equal(other.prior.log_prob(z), fitted.prior.log_prob(z))


def test_a_fitted_prior_is_not_taken_for_the_standard_normal():
    vae = model().eval()
    assert vae.standard_prior and not pv.fit_prior(vae, images(), "gaussian").standard_prior


def test_codes_that_coincide_have_a_density():
    """Images of an autoencoder that are all the same; nothing is said on standard error."""
    vae = model(kind=pv.Autoencoder).eval()
    x = images(1).expand(20, -1, -1, -1)
    for kind in FITTED:
        fitted = pv.fit_prior(vae, x, kind)
        apart = fitted.prior.sample((100,)) - vae.encode(x[:1]).mean
        assert apart.abs().max() < 6 * math.sqrt(REGULARISATION)


def test_what_cannot_be_fitted_is_refused():
    vae = model()
    with pytest.raises(ValueError, match="kind: unknown name 'normal'"):
        pv.fit_prior(vae, images(), "normal")
    with pytest.raises(ValueError, match=r"images: expected at least 10, .* got 9"):
        pv.fit_prior(vae, images(9))
    with pytest.raises(ValueError, match=r"images: expected a tensor \(N, 1, 4, 4\)"):
        pv.fit_prior(vae, torch.zeros(20, 1, 4, 5))


@pytest.mark.slow
def test_samples_of_an_autoencoder_get_closer_to_the_data(digits, classifier):
    """A Normal is closer than the prior, and a mixture than a Normal, each beyond five errors."""
    vae = pv.Autoencoder((1, 8, 8), 8, "gaussian_shared_sigma", hidden=(128,), levels=17)
    for _ in pv.fit(vae, digits.train.images, epochs=40, learning_rate=0.01, batch_size=128):
        pass
    vae.eval()
    models = [vae, *(pv.fit_prior(vae, digits.train.images, kind) for kind in FITTED)]
    real = classifier.features(digits.train.images)
    with seeded(0):
        found = [frechet_distance(classifier.features(m.sample(1437)), real) for m in models]
    for further, closer in zip(found, found[1:]):
        error = np.hypot(further.standard_error, closer.standard_error)
        assert further.mean - closer.mean > 5 * error
