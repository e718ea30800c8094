"""What the ELBO misses, and why, where all of it is known."""

import math

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation import gaps
from pyro_vae.evaluation.gaps import FIT_NATS, refit_posterior
from pyro_vae.notices import no_progress
from tests.support.linear_gaussian import (
    OBLIQUE,
    ORTHOGONAL,
    approximation_gap,
    assert_within,
    drawn_images,
    linear_gaussian_vae,
)


def gap(fit, lower, higher):
    """The difference of two ELBOs, nats (N,)."""
    return fit.elbos[higher] - fit.elbos[lower]


@pytest.mark.slow
@pytest.mark.parametrize("oblique, spoil", [(ORTHOGONAL, 0.0), (OBLIQUE, 0.3)])
def test_all_gaps_are_the_closed_forms(oblique, spoil):
    """The posterior is a Normal: correlation is all that a diagonal one misses."""
    vae, exact = linear_gaussian_vae(oblique, spoil)
    x = drawn_images(vae, 2)
    fit = refit_posterior(vae, x, num_steps=200, num_samples=2000, score="density")
    truth = exact.log_prob(x)
    approximation = truth - fit.elbos["elbo_refitted"]
    # The fits are at their optimum to 0.02 nats: that is what Adam leaves after 200 steps.
    error = {name: torch.clamp(e, min=FIT_NATS / 5) for name, e in fit.errors.items()}
    missed = torch.full_like(truth, approximation_gap(exact))
    assert_within(approximation, missed, error["elbo_refitted"])
    assert_within(gap(fit, "elbo_refitted", "elbo_full_covariance"), missed, error["elbo_refitted"])
    for name in ("elbo_full_covariance", "elbo_flow"):
        assert_within(fit.elbos[name], truth, error[name])
    known = exact.gap(vae.encode(x).base_dist, x) - approximation_gap(exact)
    assert_within(gap(fit, "elbo", "elbo_refitted"), known, error["elbo_refitted"] + error["elbo"])
    assert (known.mean() > 0.2) if spoil else (known.abs().max() < 1e-9)
    assert (missed.mean() > 0.1) if oblique else (missed.mean() < 1e-9)
    assert not fit.failed.any()


class Folded(torch.nn.Module):
    """A decoder whose image is |z|, tilted: two modes per component, of which one is higher."""

    def __init__(self, tilt):
        super().__init__()
        self.tilt = tilt

    def forward(self, z):
        return (z.abs() + self.tilt * z).reshape(*z.shape[:-1], 1, 1, z.shape[-1])


def folded_vae(tilt, loc, latent_dim=1):
    """A VAE with this decoder, in float64, whose encoder always says q = Normal(loc, 0.3)."""
    vae = pv.VAE((1, 1, latent_dim), latent_dim, "gaussian_fixed_sigma", "linear", sigma=0.3)
    vae = vae.double().eval()
    vae.decoder = Folded(tilt)
    (layer,) = (m for m in vae.encoder.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias[:latent_dim] = loc
        layer.bias[latent_dim:] = math.log(0.3)
    return vae


def quadrature(vae, x):
    """log p(x) of one image whose pixels depend on one component each."""
    z = torch.linspace(-8, 8, 20_001).double().unsqueeze(-1)
    with torch.no_grad():
        pixels = vae.decode(z.expand(-1, vae.latent_dim)).base_dist.log_prob(x)
    joint = pixels.reshape(len(z), -1) - z.square() / 2 - math.log(2 * math.pi) / 2
    return (joint.logsumexp(0) + math.log(16 / 20_000)).sum()


@pytest.mark.slow
def test_a_flow_finds_the_shape_that_no_normal_has():
    """Two equal modes per component: a Normal takes one and loses log 2, a flow takes both."""
    vae = folded_vae(tilt=0.0, loc=1.0, latent_dim=2)
    x = torch.tensor([[[[1.0, 1.2]]]]).double().repeat(2, 1, 1, 1)
    truth = quadrature(vae, x[:1])
    fit = refit_posterior(vae, x, num_steps=300, num_samples=4000, score="density")
    shape = truth - fit.elbos["elbo_full_covariance"]
    assert (shape > 1.2).all()  # two components, log 2 each
    assert (gap(fit, "elbo_refitted", "elbo_full_covariance").abs() < 0.05).all()
    left = truth - fit.elbos["elbo_flow"]
    assert (left > -5 * fit.errors["elbo_flow"]).all() and left.mean() < shape.mean() / 3


@pytest.mark.slow
def test_another_start_finds_the_higher_mode():
    """The encoder sits in the lower of two modes, and a fit from there stays there."""
    vae = folded_vae(tilt=0.5, loc=-2.0)
    x = torch.tensor([[[[1.0]]]]).double()
    fit = refit_posterior(vae, x, num_steps=100, num_samples=1000, score="density")
    assert gap(fit, "elbo", "elbo_refitted") > 0.5
    assert fit.elbos["elbo_refitted"] < quadrature(vae, x)


@pytest.mark.slow
@pytest.mark.parametrize("loc", [-1.0, 0.0, 3.0])
def test_every_image_of_a_bimodal_posterior_is_fitted_in_its_best_mode(loc):
    """One component, two modes of which the positive one is better by far more than a Normal loses.

    The best Normal is found by a grid of its mean and scale. In one dimension nothing is correlated.
    """
    vae = folded_vae(tilt=0.25, loc=loc)
    x = torch.linspace(0.3, 2.0, 8).double().reshape(8, 1, 1, 1)
    fit = refit_posterior(vae, x, num_steps=100, num_samples=2000, score="density")
    assert (gap(fit, "elbo_refitted", "elbo_full_covariance") == 0).all()
    best = torch.stack([best_normal(vae, image[None]) for image in x])
    off = fit.elbos["elbo_refitted"] - best
    assert (off > -FIT_NATS - 5 * fit.errors["elbo_refitted"]).all() and off.max() < 0.1
    truth = torch.stack([quadrature(vae, image[None]) for image in x])
    shape, flow = truth - best, gap(fit, "elbo_full_covariance", "elbo_flow")
    assert shape.mean() > 0.3 and flow.mean() > 0.25 * shape.mean()


def best_normal(vae, x):
    """The ELBO of the best Normal for an image of one component, by a grid and quadrature."""
    loc = torch.linspace(-3, 3, 241).double().reshape(-1, 1, 1)
    scale = torch.logspace(-1.3, 0.3, 60).double().reshape(1, -1, 1)
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(40))
    z = (loc + scale * nodes).unsqueeze(-1)
    with torch.no_grad():
        likelihood = vae.decode(z.flatten(0, 1)).log_prob(x).reshape(z.shape[:-1])
    mean = (likelihood * weights).sum(-1) / weights.sum()
    kl = (scale.square() + loc.square() - 1).squeeze(-1) / 2 - scale.squeeze(-1).log()
    return (mean - kl).max()


@pytest.mark.slow
def test_a_mode_that_fits_miss_is_found_from_the_true_code(monkeypatch):
    """Eight components of two modes each: an encoder far from all, and fits from there alone."""
    vae = folded_vae(tilt=0.5, loc=-1.5, latent_dim=8)
    with_starts = gaps.missed_modes(vae, 10, 60, score="density")
    starts = gaps._Fitting.starts
    monkeypatch.setattr(gaps._Fitting, "starts", lambda self: starts(self)[:1] * 3)
    alone = gaps.missed_modes(vae, 10, 60, score="density")
    assert alone.shape == (10,) and alone.sum() >= 8 > with_starts.sum()
    normal, _ = linear_gaussian_vae()
    assert not gaps.missed_modes(normal, 10, 100, score="density").any()


def test_a_fit_that_ends_below_the_encoder_is_no_gap(monkeypatch):
    """Steps that are far too large: the encoder's q, here the posterior itself, is kept."""
    vae, exact = linear_gaussian_vae()
    x = drawn_images(vae, 4)
    monkeypatch.setattr(gaps, "LEARNING_RATE", 30.0)
    fit = refit_posterior(vae, x, num_steps=3, num_samples=400, score="density")
    assert fit.failed.all()
    for name in ("elbo", "elbo_refitted", "elbo_full_covariance"):
        assert (fit.elbos[name] - exact.log_prob(x)).abs().max() < 0.2, name
    assert (gap(fit, "elbo", "elbo_refitted") == 0).all()


def test_richer_families_start_as_the_same_distribution():
    torch.manual_seed(0)
    for size in (1, 3):
        normal = {"loc": torch.randn(5, size).double(), "log_scale": torch.randn(5, size).double()}
        noise = torch.randn(7, 5, size).double()
        full, flow = gaps.FullNormal(), gaps.Flow(size)
        plain = gaps.DiagonalNormal().draw(normal, noise)
        same = full.draw(full.containing(normal), noise)
        assert torch.allclose(same.z, plain.z)
        flowing = flow.draw(flow.containing(full.containing(normal)), noise)
        assert torch.allclose(flowing.z, plain.z, atol=1e-5)
        q = torch.distributions.Normal(normal["loc"], normal["log_scale"].exp())
        log_q = q.log_prob(plain.z).sum(-1)
        assert torch.allclose(plain.log_q, log_q) and torch.allclose(same.log_q, log_q)
        assert torch.allclose(flowing.log_q, log_q, atol=1e-4)


def test_log_q_of_a_flow_is_its_density():
    """Numbers drawn by a flow with any weights have the density that it says: by quadrature."""
    torch.manual_seed(1)
    flow = gaps.Flow(1)
    start = {"loc": torch.tensor([[0.4]]), "log_scale": torch.tensor([[-0.3]])}
    parameters = flow.containing(gaps.FullNormal().containing(start))
    weights = {n: v + 0.5 * torch.randn_like(v) for n, v in parameters.items() if "spline" in n}
    noise = torch.linspace(-7, 7, 4001).reshape(-1, 1, 1)
    z, log_q = (drawn.flatten().double() for drawn in flow.draw(parameters | weights, noise))
    assert (z.diff() > 0).all()
    assert torch.trapezoid(log_q.exp(), z).item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("size", [1, 3])
def test_a_flow_lives_on_the_device_of_its_images(size):
    spline = gaps.Flow(size, "meta").spline
    assert {t.device.type for t in [*spline.parameters(), *spline.buffers()]} == {"meta"}


def test_refitting_takes_any_number_of_draws_and_leaves_the_weights_alone():
    vae, _ = linear_gaussian_vae()
    before = {k: v.clone() for k, v in vae.state_dict().items()}
    fit = refit_posterior(vae, drawn_images(vae, 2), num_steps=2, num_samples=5, score="density")
    assert all(torch.isfinite(error).all() for error in fit.errors.values())
    assert all(torch.equal(v, before[k]) for k, v in vae.state_dict().items())
    assert all(p.grad is None for p in vae.parameters())


def test_the_errors_of_elbos_are_those_over_repeats():
    """Draws come in pairs of opposite sign, which depend on each other."""
    vae, _ = linear_gaussian_vae(OBLIQUE)
    fitting = gaps._Fitting(vae, drawn_images(vae, 3), 1, 40, "density", no_progress)
    encoder = gaps.DiagonalNormal(), fitting.starts()[0]
    found = [fitting.measure(elbo=encoder) for _ in range(400)]
    means, errors = (torch.stack([part["elbo"] for part in each]) for each in zip(*found))
    assert ((means.std(0) / errors.square().mean(0).sqrt() - 1).abs() < 0.2).all()


OWN = {"normal": "elbo_refitted", "full_normal": "elbo_full_covariance", "flow": None}


@pytest.mark.slow
@pytest.mark.parametrize("posterior, own", OWN.items())
def test_other_priors_and_posteriors_have_gaps_too(posterior, own):
    """A mixture prior with a linear decoder in two dimensions: log p(x) by quadrature."""
    torch.manual_seed(0)
    parts = {"posterior": posterior, "prior": "mixture", "network": "linear"}
    vae = pv.VAE((1, 1, 2), 2, "gaussian_fixed_sigma", sigma=0.5, **parts).double().eval()
    x = torch.tensor([[0.4, 0.8], [1.0, -0.5]]).double().reshape(2, 1, 1, 2)
    line = torch.linspace(-8, 8, 401).double()
    z = torch.cartesian_prod(line, line).unsqueeze(1)
    with torch.no_grad():
        joint = vae.decode(z).log_prob(x) + vae.prior.log_prob(z)
    truth = joint.logsumexp(0) + 2 * math.log(16 / 400)
    fit = refit_posterior(vae, x, num_steps=80, num_samples=1000, score="density")
    assert fit.own == own
    for name, elbo in fit.elbos.items():
        assert (elbo < truth + 5 * fit.errors[name] + 1e-6).all(), name
    assert (truth - fit.elbos["elbo_full_covariance"] < 0.2).all()
    assert (truth - fit.elbos["elbo"] > truth - fit.elbos["elbo_flow"]).all()
    with torch.no_grad():
        q = vae.encode(x)
        z = q.sample((20_000,))
        terms = vae.decode(z).log_prob(x) + vae.prior.log_prob(z) - q.log_prob(z)
    error = terms.std(0) / math.sqrt(20_000) + fit.errors["elbo"]
    assert ((terms.mean(0) - fit.elbos["elbo"]).abs() < 5 * error).all()
