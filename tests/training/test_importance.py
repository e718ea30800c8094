"""Importance-weighted bounds: the gradients of the formulas, unbiased, and no noisier than that."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, RenyiELBO
from torch.distributions import Normal

import pyro_vae as pv
from pyro_vae.training.importance import ESTIMATORS, ImportanceELBO, in_groups
from pyro_vae.training.objectives import OBJECTIVES, Loss
from pyro_vae.training.programs import per_image
from tests.support.linear_gaussian import drawn_images, linear_gaussian_vae
from tests.support.own_parts import FILE
from tests.support.programs import Warping, images, model
from tests.support.training import assert_same_weights, trained

ROUNDING = 1e-10  # float64, some hundred summands
K = 6
OPTIONS = {"num_particles": K, "vectorize_particles": True, "max_plate_nesting": 1}


def both(gradients_of, vae):
    """Gradients of the encoder and of all other parameters, in one dimension each."""
    encoder = list(vae.encoder.parameters())
    others = [*vae.decoder.parameters(), *vae.likelihood.parameters()]
    return [torch.cat([g.flatten() for g in gradients_of(ps)]) for ps in (encoder, others)]


def gradients(name, vae, x, num_particles=K, beta=1.0):
    """The terms of an objective, and the gradients of its loss, on the noise of a seed."""
    torch.manual_seed(3)
    terms = OBJECTIVES[name].terms(vae.model, vae.guide, x, beta, num_particles)
    return terms, both(lambda ps: torch.autograd.grad(terms.loss, ps, retain_graph=True), vae)


@pytest.fixture(scope="module")
def scenario():
    """A linear model in float64, whose q is wrong, and six images."""
    vae, _ = linear_gaussian_vae(oblique=True, spoil=0.3)
    return vae, drawn_images(vae, 6)


def written_out(name, vae, x):
    """The loss and both gradients by the formulas, in two passes; six draws make two groups."""
    torch.manual_seed(3)
    loc, log_scale = vae.encoder(x).chunk(2, -1)
    z = loc + log_scale.exp() * torch.randn(K, *loc.shape, dtype=torch.float64)
    constant = name in ("stl", "dreg")  # the parameters of q have no gradients of their own
    q = Normal(*((t.detach() if constant else t) for t in (loc, log_scale.exp())))
    log_p = Normal(0, 1).log_prob(z).sum(-1) + vae.decode(z).log_prob(x)
    log_w = log_p - q.log_prob(z).sum(-1)
    w = log_w.detach().exp()
    groups = w.view(3, 2, -1).transpose(0, 1)  # the draws of odd numbers, and those of even ones
    share = w / w.sum(0)
    of_groups = (groups / groups.sum(1, keepdim=True) / 2).transpose(0, 1).reshape(w.shape)
    equal, together = torch.full_like(w, 1 / K), w.mean(0).log()
    bound, u, v = {
        "stl": (w.log().mean(0), equal, equal),
        "iwae": (together, share, share),
        "dreg": (together, share, share**2),
        "miwae": (groups.mean(1).log().mean(0), of_groups, of_groups),
        "piwae": (together, share, of_groups),
        "ciwae": ((w.log().mean(0) + together) / 2, (equal + share) / 2, (equal + share) / 2),
    }[name]

    def passed(weights):
        loss = -(weights * log_w).sum(0).mean()
        return both(lambda ps: torch.autograd.grad(loss, ps, retain_graph=True), vae)

    return -bound.mean(), [passed(v)[0], passed(u)[1]]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_loss_and_gradients_are_the_formulas(name, scenario):
    terms, found = gradients(name, *scenario)
    loss, expected = written_out(name, *scenario)
    assert terms.loss.item() == pytest.approx(loss.item(), rel=ROUNDING)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= ROUNDING * other.abs().max()


@pytest.mark.parametrize("num_particles", [1, K])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_estimator_of_pyro_agrees(name, num_particles, scenario):
    """The programs are scaled by one over the number of images, as the engine `svi` scales them."""
    vae, x = scenario
    if num_particles == 1 and "miwae" in (name, name.replace("piwae", "miwae")):
        with pytest.raises(ValueError, match="num_particles: expected a product, as 4 or 64"):
            Loss(vae, OBJECTIVES[name], num_particles)
        return
    beta = 0.7 if name == "stl" else 1.0
    terms, expected = gradients(name, vae, x, num_particles, beta)
    vae.zero_grad()
    torch.manual_seed(3)
    elbo = OBJECTIVES[name].estimator(num_particles, len(x))
    if name == "iwae":  # whose definition is Pyro's own
        elbo = ImportanceELBO(ESTIMATORS[name], **OPTIONS | {"num_particles": num_particles})
    loss = elbo.loss_and_grads(per_image(vae.model), per_image(vae.guide), x, beta)
    assert loss == pytest.approx(terms.loss.item(), rel=ROUNDING)
    found = both(lambda ps: [torch.zeros_like(p) if p.grad is None else p.grad for p in ps], vae)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= ROUNDING * other.abs().max()
    torch.manual_seed(3)
    assert elbo.loss(per_image(vae.model), per_image(vae.guide), x, beta) == loss


def test_groups():
    assert [in_groups(torch.zeros(count)).shape[1] for count in (4, 6, 8, 36, 50, 64)] == [
        *(2, 2, 2, 6, 5, 8)
    ]
    for count in (1, 2, 7):
        with pytest.raises(ValueError, match=f"num_particles: expected a product.* got {count}"):
            in_groups(torch.zeros(count))


# --- bias and noise -------------------------------------------------------------------------------


def test_at_the_posterior_what_leaves_the_score_out_is_without_noise():
    """The log weights are log p(x) whatever z: nothing goes through the draws."""
    vae, _ = linear_gaussian_vae()
    x = drawn_images(vae, 6)
    for name in ("stl", "dreg"):
        assert gradients(name, vae, x)[1][0].abs().max() < 1e-9
    assert gradients("elbo", vae, x)[1][0].abs().max() > 0.1


def of_one_image(name, num_particles, copies):
    """Gradients (copies, 2) of q's mean and log scale for an image: independent, one per copy.

    p(z) = N(0, 1) and p(x|z) = N(z, 1) at x = 1, so that the posterior is N(1/2, 1/2).
    """
    torch.manual_seed(0)
    loc, log_scale = (torch.full((copies,), value, dtype=torch.float64) for value in (0.1, -0.1))
    loc.requires_grad_(), log_scale.requires_grad_()

    def guide(x, beta):
        with pyro.plate("data", copies):
            return pyro.sample("z", dist.Normal(loc, log_scale.exp()))

    def program(x, beta):
        with pyro.plate("data", copies):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(loc), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    terms = OBJECTIVES[name].terms(program, guide, torch.ones_like(loc), 1.0, num_particles)
    return torch.stack(torch.autograd.grad(terms.loss, [loc, log_scale]), 1) * copies


@pytest.mark.slow
@pytest.mark.parametrize("name, plain", [("stl", "elbo"), ("dreg", "iwae")])
def test_without_the_score_there_is_no_bias(name, plain):
    """100,000 draws of each: the means agree to 5 standard errors, and the new one is less noisy."""
    found, expected = (of_one_image(each, 8, 100_000) for each in (name, plain))
    error = ((found.var(0) + expected.var(0)) / len(found)).sqrt()
    assert ((found.mean(0) - expected.mean(0)).abs() < 5 * error).all()
    assert (found.var(0) < expected.var(0)).all()


def test_stl_has_the_gradient_of_the_closed_form():
    """-ELBO of N(m, s^2) is ((x - m)^2 + m^2 + 2 s^2) / 2 - log s and a constant."""
    found, m, s = of_one_image("stl", 8, 100_000), 0.1, math.exp(-0.1)
    exact = torch.tensor([2 * m - 1, 2 * s**2 - 1], dtype=torch.float64)
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - exact).abs() < 5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("name, power", [("iwae", -0.5), ("dreg", 0.5), ("piwae", 0.0)])
def test_the_signal_to_noise_ratio_of_the_encoder(name, power):
    """That of the gradient of q's mean goes as a power of K, from 4 to 64 draws.

    The root of K groups have the root of K draws each in `piwae`. The powers hold for large K, hence
    0.1; 50,000 repeats give the smallest ratio to 12%, the power to 0.045 and 5 of these on top.
    """
    few, many = (of_one_image(name, num_particles, 50_000)[:, 0] for num_particles in (4, 64))
    ratio = (many.mean() / many.std()) / (few.mean() / few.std())
    assert abs(math.log(ratio, 16) - power) < 0.1 + 5 * 0.045


# --- for Pyro -------------------------------------------------------------------------------------


def pyros_form(elbo, program, guide, x, parameters):
    for p in parameters:
        p.grad = None
    torch.manual_seed(1)
    return elbo.loss_and_grads(program, guide, x), [p.grad.item() for p in parameters]


def hierarchy(scaled=1.0):
    """A program whose second latent variable depends on the first, in both directions."""
    m, s = (torch.full((), v, dtype=torch.float64, requires_grad=True) for v in (0.3, 0.8))

    def program(x):
        pyro.param("unused", torch.zeros(()))  # else Renyi's has no gradients
        with pyro.plate("data", len(x)), poutine.scale(scale=scaled):
            a = pyro.sample("a", dist.Normal(torch.zeros_like(x), 1.0))
            b = pyro.sample("b", dist.Normal(m * a, 1.0))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), poutine.scale(scale=scaled):
            b = pyro.sample("b", dist.Normal(s * x, 0.9))
            pyro.sample("a", dist.Normal(s * b, s.exp()))

    return program, guide, [m, s]


X = torch.linspace(-1, 1, 16, dtype=torch.float64)


def test_the_plain_bound_is_renyis():
    """And the scale of a plate stays outside of the logarithm."""
    *programs, parameters = hierarchy()
    loss, found = pyros_form(
        ImportanceELBO(ESTIMATORS["iwae"], **OPTIONS), *programs, X, parameters
    )
    expected, others = pyros_form(RenyiELBO(alpha=0, **OPTIONS), *programs, X, parameters)
    assert loss == pytest.approx(expected, rel=ROUNDING)
    assert found == pytest.approx(others, rel=ROUNDING)
    *programs, parameters = hierarchy(scaled=3.0)
    scaled, threefold = pyros_form(
        ImportanceELBO(ESTIMATORS["iwae"], **OPTIONS), *programs, X, parameters
    )
    assert scaled == pytest.approx(3 * loss) and threefold == pytest.approx([3 * g for g in found])


def test_particles_one_after_the_other_are_those_of_a_plate():
    """Sixteen numbers each, which the generator draws in the same order."""
    *programs, parameters = hierarchy()
    for name in ("stl", "dreg"):
        one, other = (
            pyros_form(ImportanceELBO(ESTIMATORS[name], **options), *programs, X, parameters)
            for options in (OPTIONS | {"num_particles": 1}, {"max_plate_nesting": 1})
        )
        assert one == other
    loop = ImportanceELBO(ESTIMATORS["dreg"], num_particles=3)
    assert math.isfinite(loop.loss(*programs, X))


@pytest.mark.slow
def test_draws_that_depend_on_others_have_no_bias():
    """A guide of two steps: `dreg` runs it again at held draws, over 4,000 minibatches."""
    *programs, parameters = hierarchy()
    x = X.repeat(1_000)
    found = {}
    for name in ("iwae", "dreg"):
        elbo = ImportanceELBO(ESTIMATORS[name], num_particles=K, vectorize_particles=True)
        repeats = []
        for seed in range(30):
            torch.manual_seed(seed)
            parameters[1].grad = None
            elbo.loss_and_grads(*programs, x)
            repeats.append(parameters[1].grad / 1_000)
        found[name] = torch.stack(repeats)
    one, other = found.values()
    error = ((one.var() + other.var()) / 30).sqrt()
    assert abs(one.mean() - other.mean()) < 5 * error


def test_what_has_no_such_gradient_is_refused():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Bernoulli(torch.full_like(x, 0.5)))

    def program(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(torch.full_like(x, 0.5)))
            pyro.sample("x", dist.Normal(a, 1.0), obs=x)

    with pytest.raises(NotImplementedError, match="not reparameterised"):
        ImportanceELBO(ESTIMATORS["dreg"], num_particles=K).loss(program, guide, X)
    program, guide, _ = hierarchy()
    with pytest.raises(
        ValueError, match=r"scale: expected the same for all sites, got \[1.0, 2.0\]"
    ):
        ImportanceELBO(ESTIMATORS["dreg"], num_particles=K).loss(
            poutine.scale(program, 2), guide, X
        )


@pytest.mark.slow
def test_svi_finds_the_posterior_where_the_gradients_end():
    """That of z ~ N(0, 1) and x ~ N(z, 1) is N(x / 2, 1 / 2): without noise there, so that Adam rests."""

    def program(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        loc, log_scale = (pyro.param(name, torch.zeros_like(X)) for name in ("loc", "log_scale"))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()))

    svi = SVI(
        program, guide, pyro.optim.Adam({"lr": 0.05}), ImportanceELBO(ESTIMATORS["dreg"], **OPTIONS)
    )
    for _ in range(500):
        svi.step(X)
    assert (pyro.param("loc") - X / 2).abs().max() < 1e-3
    assert (pyro.param("log_scale") + math.log(2) / 2).abs().max() < 1e-3
    pyro.clear_param_store()


@pytest.mark.parametrize("engine", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_an_estimator_of_ones_own_trains(no_inductor, tmp_path, engine):
    """The bound of order 1/2 of Renyi, for which Pyro has its own estimator."""
    (tmp_path / "mine.py").write_text(FILE)
    objective = f"{tmp_path}/mine.py:Renyi"
    vae, other = model().double(), model().double()
    options = {"objective": objective, "num_particles": K, "batch_size": 40, "epochs": 1}
    (record,), weights = trained(vae, engine=engine, **options)
    run = pv.fit(other, images(), precision="float64", engine="svi", **options)
    run.engine.loss.objective.estimator = lambda count, size: RenyiELBO(
        alpha=1 - size / 2, num_particles=count, max_plate_nesting=1, vectorize_particles=True
    )
    assert record.loss == pytest.approx(next(run).loss, rel=ROUNDING)
    assert_same_weights(weights, other.state_dict(), 1e-8)


# --- in training ----------------------------------------------------------------------------------


def test_programs_that_change_from_run_to_run_are_refused():
    """The score of another q would stay in the gradient."""
    vae = model()
    vae.encoder.append(torch.nn.Dropout(0.5))
    for engine in ("svi", "eager"):
        with pytest.raises(ValueError, match="z: its program gives another distribution when it"):
            trained(vae, objective="dreg", num_particles=K, engine=engine)


@pytest.mark.parametrize("objective", ["iwae", "miwae"])
def test_sites_that_all_images_share_have_no_bound_of_each_image(objective):
    for engine in ("svi", "eager"):
        with pytest.raises(ValueError, match="offset: is shared by images, and an importance"):
            trained(model(kind=Warping), objective=objective, num_particles=K, engine=engine)


def test_groups_that_cannot_be_are_refused_before_training():
    for options in ({}, {"num_particles": 5}):
        with pytest.raises(ValueError, match="num_particles: expected a product, as 4 or 64"):
            pv.fit(model(), images(), objective="piwae", **options)
