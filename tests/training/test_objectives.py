"""Rates against the closed form; losses and gradients against formulas written by hand, and Pyro."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO
from torch.distributions import Normal, kl_divergence

from pyro_vae import VAE, Autoencoder
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.models.elbo import component_rates
from pyro_vae.training.objectives import OBJECTIVES, ElboAnalytic
from pyro_vae.training.programs import per_image
from tests.support.programs import model
from tests.support.training import trained

BATCH, LATENT, SHAPE = 6, 3, (2, 5, 4)
PLAIN = ["elbo", "elbo_analytic", "iwae"]  # whose gradients are those of their losses


ROUNDING = 1e-10  # float64, some hundred summands


def scenario(name="bernoulli", model=VAE, **options):
    """A model off its start, but of moderate losses: weights of 1e6 nats magnify rounding."""
    options = {"network": "mlp", "hidden": (8,), "levels": 2} | options
    vae = model(SHAPE, LATENT, name, **options).double()
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.1 * torch.randn_like(p))
    levels = options["levels"]
    return vae, torch.randint(levels, (BATCH, *SHAPE)).double() / (levels - 1)


def gradients(vae, loss):
    """A loss's value and all its gradients, zero where a parameter plays no part."""
    found = torch.autograd.grad(loss, list(vae.parameters()), allow_unused=True)
    return loss.item(), [
        torch.zeros_like(p) if g is None else g for p, g in zip(vae.parameters(), found)
    ]


def assert_equal(one, other, tolerance=ROUNDING):
    (loss, grads), (other_loss, other_grads) = one, other
    assert loss == pytest.approx(other_loss, rel=tolerance, abs=tolerance)
    for a, b in zip(grads, other_grads, strict=True):
        assert (a - b).abs().max() <= tolerance * max(1, b.abs().max())


# --- the KL ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_monte_carlo_rate_is_the_closed_form():
    """Random posteriors, 200,000 draws: within 5 standard errors, per image."""
    q = Normal(torch.randn(8, 3, dtype=torch.float64), torch.rand(8, 3, dtype=torch.float64) + 0.1)
    p = Normal(torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    exact = kl_divergence(q, p).sum(-1)
    x = torch.zeros(8, 1, 1, 1, dtype=torch.float64)

    def guide(x, beta):
        with pyro.plate("data", 8):
            pyro.sample("z", dist.Normal(q.loc, q.scale).to_event(1))

    def model(x, beta):
        with pyro.plate("data", 8):
            z = pyro.sample("z", dist.Normal(p.loc, p.scale).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x.flatten())

    rates = torch.stack(
        [OBJECTIVES["elbo"].terms(model, guide, x, 1.0, 1000).rate for _ in range(200)]
    )
    error = rates.std() / math.sqrt(len(rates))
    assert (rates.mean() - exact.mean()).abs() < 5 * error
    analytic = OBJECTIVES["elbo_analytic"].terms(model, guide, x, 1.0).rate
    assert analytic.item() == pytest.approx(exact.mean().item(), rel=1e-6)


# --- by hand --------------------------------------------------------------------------------------


def by_hand(vae, x, objective, beta, num_particles):
    """The loss without Pyro: q, p and log p(x|z) spelled out, on the same draws."""
    loc, log_scale = vae.encoder(x).chunk(2, -1)
    scale = log_scale.exp()
    noise = torch.randn(num_particles, BATCH, LATENT, dtype=torch.float64)
    z = loc + scale * (noise if num_particles > 1 else noise.squeeze(0))
    logits = vae.decoder(z.reshape(-1, LATENT)).reshape(*z.shape[:-1], *SHAPE)
    log_x = (x * logits - logits.exp().log1p()).flatten(-3).sum(-1)
    log_q = (-(((z - loc) / scale) ** 2) / 2 - log_scale - math.log(2 * math.pi) / 2).sum(-1)
    log_p = (-(z**2) / 2 - math.log(2 * math.pi) / 2).sum(-1)
    if objective == "elbo":
        return (-log_x + beta * (log_q - log_p)).mean()
    if objective == "elbo_analytic":
        rate = ((loc**2 + scale**2 - 1) / 2 - log_scale).sum(-1)
        return -log_x.mean() + beta * rate.mean()
    weights = (log_x + log_p - log_q).view(num_particles, BATCH).exp()
    return -weights.mean(0).log().mean()


@pytest.mark.parametrize("num_particles", [1, 4])
@pytest.mark.parametrize("objective", PLAIN)
def test_loss_and_gradients_equal_the_formulas(objective, num_particles):
    for beta, as_tensor in itertools.product([0, 1.0, 4.0], [False, True]):
        assert_equal_to_the_formulas(objective, beta, as_tensor, num_particles)


def assert_equal_to_the_formulas(objective, beta, as_tensor, num_particles):
    vae, x = scenario()
    given = torch.tensor(float(beta), dtype=torch.float64) if as_tensor else beta
    if objective == "iwae" and (as_tensor or beta != 1):
        with pytest.raises(ValueError, match="a scaled importance bound is no bound"):
            OBJECTIVES["iwae"].terms(vae.model, vae.guide, x, given, num_particles)
        return
    torch.manual_seed(3)
    terms = OBJECTIVES[objective].terms(vae.model, vae.guide, x, given, num_particles)
    torch.manual_seed(3)
    expected = by_hand(vae, x, objective, beta, num_particles)
    assert_equal(gradients(vae, terms.loss), gradients(vae, expected))


@pytest.mark.parametrize("objective", ["elbo", "elbo_analytic"])
def test_loss_is_distortion_plus_beta_rate_and_terms_do_not_depend_on_beta(objective):
    vae, x = scenario()
    seen = []
    for beta in (0, 0.25, 1.0, 4.0):
        torch.manual_seed(1)
        terms = OBJECTIVES[objective].terms(vae.model, vae.guide, x, beta)
        assert terms.loss.item() == pytest.approx(
            (terms.distortion + beta * terms.rate).item(), rel=ROUNDING
        )
        seen.append((terms.rate.item(), terms.distortion.item()))
    assert all(pair == pytest.approx(seen[0], rel=ROUNDING) for pair in seen)


@pytest.mark.parametrize(
    "objective, side",
    [("elbo", "model"), ("elbo", "guide"), ("elbo_analytic", "model")],  # it reads the guide's
)
def test_scaling_one_side_only_is_caught(objective, side):
    """The check above is no check if it passes a program that forgot half of beta."""
    vae, x = scenario()

    def program(x, beta):
        return vae.model(x, beta if side == "model" else 1.0)

    def guide(x, beta):
        return vae.guide(x, beta if side == "guide" else 1.0)

    torch.manual_seed(3)
    terms = OBJECTIVES[objective].terms(program, guide, x, 4.0)
    torch.manual_seed(3)
    assert abs(terms.loss.item() - by_hand(vae, x, objective, 4.0, 1).item()) > 0.1


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_free_bits_of_each_component_cost_nothing(beta):
    """Their gradients are those of the other components: Kingma et al., equation 15, per component."""
    vae, x = scenario()
    rates = component_rates(vae.encode(x), vae.prior).mean(0)
    free = rates.median().item() * (1 + 1e-9)  # one component of three is charged for
    torch.manual_seed(3)
    terms = ElboAnalytic(free).terms(vae.model, vae.guide, x, beta)
    torch.manual_seed(3)
    plain = OBJECTIVES["elbo_analytic"].terms(vae.model, vae.guide, x, beta)
    charged = plain.distortion + beta * (rates.clamp_min(free)).sum()
    assert terms.loss.item() == pytest.approx(charged.item(), rel=ROUNDING)
    assert (terms.rate, terms.distortion) == (plain.rate, plain.distortion)
    assert_equal(
        gradients(vae, terms.loss - plain.loss),
        gradients(vae, beta * (rates.clamp_min(free) - rates).sum()),
    )


@pytest.mark.parametrize(
    "options, engine, message",
    [
        ({}, "svi", "engine: svi needs an estimator of Pyro's"),
        ({"posterior": "full_normal"}, "eager", "free_bits: need a posterior and a prior of"),
        ({"prior": "mixture"}, "eager", "free_bits: need a posterior and a prior of"),
        ({"kind": Autoencoder}, "eager", "free_bits: need a posterior and a prior of"),
    ],
)
def test_free_bits_are_refused_where_there_are_none(options, engine, message):
    with pytest.raises(ValueError, match=message):
        trained(model(**options), objective="elbo_analytic", free_bits=0.1, engine=engine)


# --- Pyro -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_both_forms_of_an_objective_agree(name):
    """svi and eager: the same loss and gradients on the same noise, every family and objective."""
    for objective, score, num_particles in itertools.product(PLAIN, ["density", "levels"], [1, 3]):
        beta = 1.0 if objective == "iwae" else 0.7
        vae, x = scenario(name, score=score)
        torch.manual_seed(2)
        terms = OBJECTIVES[objective].terms(vae.model, vae.guide, x, beta, num_particles)
        ours = gradients(vae, terms.loss)
        assert_equal(ours, pyro_form(vae, x, objective, beta, num_particles))


def pyro_form(vae, x, objective, beta, num_particles):
    vae.zero_grad()
    torch.manual_seed(2)
    elbo = OBJECTIVES[objective].estimator(num_particles, len(x))
    loss = elbo.loss_and_grads(per_image(vae.model), per_image(vae.guide), x, beta)
    return loss, [torch.zeros_like(p) if p.grad is None else p.grad for p in vae.parameters()]


@pytest.mark.parametrize("objective", ["elbo", "elbo_analytic"])
def test_both_forms_agree_for_the_autoencoder(objective):
    vae, x = scenario("laplace", Autoencoder)
    terms = OBJECTIVES[objective].terms(vae.model, vae.guide, x, 1.0)
    assert math.isnan(terms.rate.item())
    assert terms.loss.item() == pytest.approx(terms.distortion.item(), rel=ROUNDING)
    assert_equal(gradients(vae, terms.loss), pyro_form(vae, x, objective, 1.0, 1))


def test_the_scaled_order_is_renyis_order_zero():
    """RenyiELBO(1 - B) of programs scaled by 1 / B is RenyiELBO(0) over B."""
    vae, x = scenario()
    ours = pyro_form(vae, x, "iwae", 1.0, 5)
    vae.zero_grad()
    torch.manual_seed(2)
    stock = RenyiELBO(alpha=0, num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    loss = stock.loss_and_grads(vae.model, vae.guide, x)
    assert_equal(ours, (loss / BATCH, [p.grad / BATCH for p in vae.parameters()]))


def test_masked_plates_of_a_users_own_programs():
    """A tensor mask leaves images out, as in Pyro."""
    vae, x = scenario()
    kept = torch.tensor([True, False, True, True, False, True])

    model, guide = (poutine.mask(program, kept) for program in (vae.model, vae.guide))
    torch.manual_seed(2)
    terms = OBJECTIVES["elbo"].terms(model, guide, x, 1.0)
    torch.manual_seed(2)
    loss = OBJECTIVES["elbo"].estimator(1, BATCH).loss(per_image(model), per_image(guide), x, 1.0)
    assert terms.loss.item() == pytest.approx(loss, rel=ROUNDING)
    whole = OBJECTIVES["elbo"].terms(vae.model, vae.guide, x, 1.0)
    assert terms.loss.item() < 0.9 * whole.loss.item()  # two of six images are left out
