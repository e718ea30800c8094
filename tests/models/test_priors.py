"""Priors against exact evidence, and each with each posterior under the engines."""

import copy
import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO

import pyro_vae as pv
from pyro_vae.evaluation.ais import Annealing, annealed_importance_sampling
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.models.posteriors import POSTERIORS
from pyro_vae.models.priors import PRIORS, MixturePrior, NormalPrior, VampPrior
from tests.support.linear_gaussian import drawn_images, linear_layers
from tests.support.programs import images, model
from tests.support.training import (
    assert_same_gradients,
    assert_same_weights,
    graph_gradients,
    pyro_gradients,
    through_a_file,
)

WEIGHTED = [q for q in POSTERIORS if q != "point"]  # a point has no importance weights
PAIRS = [*itertools.product(PRIORS, WEIGHTED), ("normal", "point")]
OF_OBJECTIVES = [
    *itertools.product(["normal"], ["point"], ["elbo", "elbo_analytic"]),
    *(
        (prior, WEIGHTED[(n + m - 1) % len(WEIGHTED)], objective)
        for (n, prior), (m, objective) in itertools.product(
            enumerate(PRIORS), enumerate(["elbo", "elbo_analytic", "iwae", "dreg"])
        )
    ),
]  # in which each pair of values of two of the three stands at least once


def of_parts(prior, posterior):
    """A small model of these parts."""
    few = VampPrior(2, pseudo_inputs=5) if prior == "vamp" else prior
    return model(prior=few, posterior=posterior)


def linear_mixture():
    """A linear decoder under a mixture of three Normals, in float64, and its exact log p(x)."""
    torch.manual_seed(1)
    prior = MixturePrior(2, components=3)
    vae = pv.VAE((1, 3, 3), 2, "gaussian_fixed_sigma", "linear", sigma=0.7, prior=prior)
    vae = vae.double().eval()
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.3, -0.5, 0.1]))
        prior.loc.mul_(2)
        prior.raw_log_scale.copy_(torch.randn(3, 2) * 0.3 - 0.5)
        weight, offset = linear_layers(vae)[1].parameters()
        scale = prior.raw_log_scale.exp()
        noise = 0.7**2 * torch.eye(9, dtype=torch.float64)
        covariance = weight @ torch.diag_embed(scale.square()) @ weight.T + noise
        components = dist.MultivariateNormal(prior.loc @ weight.T + offset, covariance)
    evidence = dist.MixtureSameFamily(dist.Categorical(logits=prior.logits.detach()), components)
    return vae, evidence


@pytest.mark.slow
def test_annealing_finds_the_evidence_of_a_mixture():
    vae, evidence = linear_mixture()
    x = drawn_images(vae, 12)
    for start in ("prior", "posterior"):
        annealing = Annealing(60, 32, start=start, score="density")
        found = annealed_importance_sampling(vae, x, annealing)
        apart = found.log_prob - evidence.log_prob(x.flatten(1))
        assert (apart.abs() < 5 * found.error + 1e-6).all()


def test_a_vamp_of_one_pseudo_input_can_be_the_normal_prior():
    """Where the encoder gives N(0, 1) for it, the model is the one with the standard Normal."""
    prior = VampPrior(2, pseudo_inputs=1)
    vae, plain = model(prior=prior), model()
    last = list(vae.encoder.parameters())[-2:]
    with torch.no_grad():
        for p in last:
            p.zero_()
    plain.load_state_dict({k: v for k, v in vae.state_dict().items() if "prior" not in k})
    z = torch.randn(50, 2)
    assert torch.allclose(vae.prior.log_prob(z), plain.prior.log_prob(z), atol=1e-6)
    ours, theirs = (elbo_terms(each.eval(), images(9)).elbo for each in (vae, plain))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_pseudo_inputs_are_images():
    """Their pixels lie between 0 and 1, whatever is learned."""
    vae = model(prior=VampPrior(2, pseudo_inputs=5))
    raw = vae.prior_module.raw
    with torch.no_grad():
        raw.mul_(9)
        assert torch.equal(vae.prior.component_distribution.mean, vae.encode(raw.sigmoid()).mean)


def test_a_mixture_of_one_standard_normal_is_the_normal_prior():
    prior = MixturePrior(3, components=1)
    with torch.no_grad():
        prior.loc.zero_()
    z = torch.randn(20, 3)
    assert torch.allclose(prior().log_prob(z), NormalPrior(3)().log_prob(z), atol=1e-6)


@pytest.mark.parametrize("name", PRIORS)
def test_a_mean_of_many_draws_is_that_of_the_prior(name):
    vae = model(prior=name)
    with torch.no_grad():
        z = vae.prior.sample((20_000,))
        error = z.std(0) / len(z) ** 0.5
        assert ((z.mean(0) - vae.prior.mean).abs() < 5 * error).all()
    new = Predictive(vae.model, num_samples=2)(None, num_images=3)
    assert new["x"].shape == (2, 3, 1, 4, 4)


@pytest.mark.slow
@pytest.mark.parametrize("prior, posterior", PAIRS)
def test_stock_pyro_trains_every_pair_and_finds_its_elbo(prior, posterior):
    """All parameters move but those of a decoder that no gradient reaches; the rate is unbiased."""
    vae, x = of_parts(prior, posterior), images()
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    before = copy.deepcopy(vae.state_dict())
    losses = [svi.step(x) for _ in range(30)]
    assert sum(losses[-10:]) < sum(losses[:10])
    unmoved = [k for k, p in vae.named_parameters() if torch.equal(p, before[k])]
    assert unmoved == []
    terms = elbo_terms(vae.eval(), x, 200)
    if posterior != "point":
        loss = TraceMeanField_ELBO(num_particles=300, vectorize_particles=True)
        stock = -loss.loss(vae.model, vae.guide, x) / len(x)
        assert terms.elbo.mean().item() == pytest.approx(stock, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("prior, posterior, objective", OF_OBJECTIVES)
def test_engines_agree_for_every_pair(prior, posterior, objective):
    """On the gradients of a minibatch, by all their ways to them.

    A flow takes seconds to capture: once, where its splines are computed in both directions.
    """
    captured = [graph_gradients] * (posterior != "flow" or objective == "dreg")
    assert_same_gradients(of_parts(prior, posterior), objective, pyro_gradients, *captured)


@pytest.mark.parametrize("prior, posterior", list(zip(itertools.cycle(PRIORS), POSTERIORS)))
def test_a_training_resumes_bit_for_bit(prior, posterior):
    whole, first, second = (
        pv.fit(of_parts(prior, posterior), images(), epochs=3, engine="eager") for _ in range(3)
    )
    list(whole)
    next(first)
    second.restore(through_a_file(first.state()))
    list(second)
    first.unused = False
    assert_same_weights(whole.model.state_dict(), second.model.state_dict())
