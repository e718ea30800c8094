"""Every family of the dict against the same truths: references, totals, means, gradients."""

import math

import mpmath as mp
import pytest
import torch
from test_special import SHAPES, beta_bin_reference

from pyro_vae.likelihoods.families import LIKELIHOODS
from pyro_vae.likelihoods.base import LevelMass, bounded_scale

mp.mp.dps = 40
FAMILIES = list(LIKELIHOODS)
MASSES = [(f, n) for f in FAMILIES for n in (2, 17, 256) if f != "bernoulli" or n == 2]
DENSITIES = [f for f in FAMILIES if f != "bernoulli" and not issubclass(LIKELIHOODS[f], LevelMass)]
PIXEL = (1, 1, 1)
EXTREME = [-50.0, -12.0, -3.0, -1.0, -0.1, 0.0, 0.3, 0.5, 0.9, 1.0, 2.0, 12.0, 50.0]


def build(name, shape=PIXEL, levels=256, score="density", dtype=torch.float64):
    """A family in `eval` mode; what it learns is moved off its start."""
    family = LIKELIHOODS[name](shape, levels, score).to(dtype).eval()
    with torch.no_grad():
        for p in family.parameters():
            p.add_(torch.randn_like(p) / 2)
    return family


def outputs_for(family, count=40, dtype=torch.float64):
    """Decoder outputs (N, channels, 1, 1): random ones, then all extremes mixed."""
    random = 3 * torch.randn(count, family.channels, 1, 1, dtype=dtype)
    rows = torch.randint(len(EXTREME), (count, family.channels, 1, 1))
    return torch.cat([random, torch.tensor(EXTREME, dtype=dtype)[rows]])


def grid(levels, dtype=torch.float64):
    return torch.arange(levels, dtype=dtype) / (levels - 1)


def log_masses(family, outputs):
    """(levels, N): log P of every grey level of a one-pixel image."""
    x = grid(family.levels, outputs.dtype).view(-1, 1, 1, 1, 1)
    return family.mass(outputs).log_prob(x)


# --- references: what each family says, once more, in mpmath ----------------------------------


def location_scale_reference(shape, loc, scale, level, levels):
    sf = SHAPES[shape][2]
    loc, scale = mp.mpf(loc), mp.mpf(scale)
    low = (mp.mpf(2 * level - 1) / (2 * levels - 2) - loc) / scale
    high = (mp.mpf(2 * level + 1) / (2 * levels - 2) - loc) / scale
    if level == levels - 1:
        return sf(low)
    if level == 0:
        return sf(-high)
    return sf(low) - sf(high) if low > 0 else sf(-high) - sf(-low)


def bernoulli_reference(family, out, level):
    return 1 / (1 + mp.exp(-out[0] if level else out[0]))


def continuous_bernoulli_reference(family, out, level):
    a, n = mp.mpf(out[0]), family.levels
    if a == 0:
        return mp.mpf(1) / n
    return (mp.exp(a * (level + 1) / n) - mp.exp(a * level / n)) / mp.expm1(a)


def scale_of(raw):
    return bounded_scale(torch.tensor(raw, dtype=torch.float64)).item()


def categorical_reference(family, out, level):
    logits = family.head(torch.tensor(out, dtype=torch.float64)).tolist()
    return mp.exp(logits[level]) / sum(map(mp.exp, logits))


def mixture_reference(family, out, level):
    parts = [out[k : k + 3] for k in range(0, len(out), 3)]
    weights = [mp.exp(w) for w, _, _ in parts]
    probabilities = [
        location_scale_reference("logistic", loc + k / 4, scale_of(raw), level, family.levels)
        for k, (_, loc, raw) in enumerate(parts)
    ]
    return sum(w * p for w, p in zip(weights, probabilities)) / sum(weights)


def beta_reference(family, out, level):
    base = family.pixels(torch.tensor(out, dtype=torch.float64).view(-1, 1, 1))
    return mp.exp(beta_bin_reference(base.a.item(), base.b.item(), level, family.levels))


def shared(shape):
    return lambda f, out, v: location_scale_reference(shape, out[0], f.scale.item(), v, f.levels)


def own(shape):
    return lambda f, out, v: location_scale_reference(shape, out[0], scale_of(out[1]), v, f.levels)


REFERENCES = {
    "bernoulli": bernoulli_reference,
    "continuous_bernoulli": continuous_bernoulli_reference,
    "gaussian_fixed_sigma": lambda f, out, v: location_scale_reference(
        "normal", out[0], f.sigma.item(), v, f.levels
    ),
    "gaussian_shared_sigma": shared("normal"),
    "gaussian_image_sigma": own("normal"),
    "gaussian_pixel_sigma": own("normal"),
    "gaussian_optimal_sigma": lambda f, out, v: location_scale_reference(
        "normal", out[0], f.sigma.item(), v, f.levels
    ),
    "laplace": shared("laplace"),
    "student_t": shared("student_t3"),
    "beta": beta_reference,
    "categorical": categorical_reference,
    "discretized_logistic": own("logistic"),
    "discretized_logistic_mixture": mixture_reference,
}


@pytest.mark.parametrize("name, levels", MASSES)
def test_log_probability_of_a_level_agrees_with_the_reference(name, levels):
    """To 1e-6 nats, at random and extreme outputs; with 40 sigma tails: 50 / 0.25 is 200 sigma."""
    family = build(name, levels=levels)
    outputs = outputs_for(family, 15)
    values = log_masses(family, outputs)
    chosen = torch.randint(levels, (len(outputs), 2))
    for n, row in enumerate(outputs.flatten(1).tolist()):
        for level in {0, levels - 1, *chosen[n].tolist()}:
            exact = mp.log(REFERENCES[name](family, row, level))
            assert abs(values[level, n].item() - exact) < 1e-6, (row, level)


@pytest.mark.parametrize("name, levels", MASSES)
def test_levels_sum_to_one(name, levels):
    family = build(name, levels=levels)
    total = log_masses(family, outputs_for(family)).logsumexp(0)
    assert total.abs().max() < 1e-6  # the accuracy that the levels themselves are held to


def test_levels_of_a_colour_mixture_sum_to_one():
    """Channels are dependent there, so the sum runs over all colours of a pixel."""
    family = build("discretized_logistic_mixture", (3, 1, 1), 2)
    colours = torch.cartesian_prod(*[grid(2)] * 3).view(8, 1, 3, 1, 1)
    total = family.mass(outputs_for(family)).log_prob(colours).logsumexp(0)
    assert total.abs().max() < 1e-10


def moments(family, outputs):
    """Integral of the density, and of x times it: Simpson's rule in a variable that tames the ends."""
    base = family.pixels(outputs)
    if hasattr(base, "loc"):  # x = loc + scale sinh(u); a Laplace's kink is a node
        u = torch.linspace(-40, 40, 16001, dtype=torch.float64).view(-1, 1, 1, 1, 1)
        x, slope = base.loc + base.scale * torch.sinh(u), base.scale * torch.cosh(u)
    else:  # the stretched interval, x = -half + width sigmoid(u)
        u = torch.linspace(-32, 32, 16001, dtype=torch.float64).view(-1, 1, 1, 1, 1)
        x = base.width * torch.sigmoid(u) - base.half
        slope = base.width * torch.sigmoid(u) * torch.sigmoid(-u)
    simpson = torch.tensor([1.0] + [4.0, 2.0] * 7999 + [4.0, 1.0], dtype=torch.float64)
    weights = simpson.view(-1, 1, 1, 1, 1) * slope * (u[1] - u[0]) / 3
    mass = weights * family.density(outputs).log_prob(x).exp().view(len(u), -1, 1, 1, 1)
    return mass.sum(0).flatten(), (mass * x).sum(0).flatten()


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_integrate_to_one_and_to_their_means(name):
    """U-shaped betas (log a, log b down to -0.7) included: beyond u = 32 they hold 2e-7."""
    family = build(name, levels=17)
    outputs = 3 * torch.randn(20, family.channels, 1, 1, dtype=torch.float64)
    if name == "beta":  # U-shapes; at smaller exponents too much lies beyond u = 32
        outputs = torch.rand_like(outputs) * 4 - 0.7
    total, mean = moments(family, outputs)
    assert (total - 1).abs().max() < 1e-6
    assert (mean - family.density(outputs).mean.flatten()).abs().max() < 1e-6


STRETCH = 17 / 16  # the interval's length at 17 levels, half a bin beyond 0 and 1 each


def on_interval(p, x):
    """log p of x, p being a distribution on [0, 1]."""
    return p.log_prob((x + 1 / 32) / STRETCH) - math.log(STRETCH)


TORCHS = {  # the same densities by torch, within the range where torch is accurate
    "normal": lambda b, x: torch.distributions.Normal(b.loc, b.scale).log_prob(x),
    "laplace": lambda b, x: torch.distributions.Laplace(b.loc, b.scale).log_prob(x),
    "student_t": lambda b, x: torch.distributions.StudentT(3.0, b.loc, b.scale).log_prob(x),
    "beta": lambda b, x: on_interval(torch.distributions.Beta(b.a, b.b), x),
    "continuous_bernoulli": lambda b, x: on_interval(
        torch.distributions.ContinuousBernoulli(logits=b.logits, lims=(0.49, 0.51)), x
    ),
}


@pytest.mark.parametrize("name", [n for n in DENSITIES if n != "gaussian_optimal_sigma"])
def test_densities_are_torchs(name):
    family = build(name, levels=17)
    base = family.pixels(torch.randn(50, family.channels, 1, 1, dtype=torch.float64))
    x = grid(17).view(-1, 1, 1, 1, 1)
    reference = TORCHS["normal" if name.startswith("gaussian") else name](base, x)
    tolerance = 1e-6 if name == "continuous_bernoulli" else 1e-10  # torch's Taylor series near 0
    assert (base.log_prob(x) - reference).abs().max() < tolerance


def test_the_images_bernoulli_is_torchs():
    logits, x = torch.randn(2, 7, 3, 4, 5, dtype=torch.float64).unbind()
    pixels = torch.distributions.Bernoulli(logits=logits).log_prob((x > 0).double())
    outputs = LIKELIHOODS["bernoulli"]((3, 4, 5), 2)(logits)
    assert torch.allclose(outputs.log_prob((x > 0).double()), pixels.sum((-3, -2, -1)), rtol=1e-12)


@pytest.mark.parametrize("name, levels", MASSES)
def test_means_of_levels_are_sums_over_the_levels(name, levels):
    family = build(name, levels=levels)
    outputs = outputs_for(family)
    expected = (log_masses(family, outputs).exp() * grid(levels).view(-1, 1)).sum(0)
    mean = family.mass(outputs).mean
    assert mean.shape == (len(outputs), *PIXEL)
    assert torch.allclose(mean.flatten(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("score", ["density", "levels"])
@pytest.mark.parametrize("name", FAMILIES)
def test_samples_have_the_mean_and_the_probabilities_of_the_distribution(name, score):
    """Within 5 standard errors, for eight outputs at every level."""
    levels, count = (2 if name == "bernoulli" else 8), 20_000
    family = build(name, levels=levels, score=score)
    outputs = torch.randn(8, family.channels, 1, 1, dtype=torch.float64)
    p = family(outputs)
    x = p.sample((count,))
    assert x.shape == (count, 8, *PIXEL)
    x = x.flatten(1)
    if name != "student_t" or score == "levels":  # with two moments only its mean is no test
        error = x.std(0) / math.sqrt(count)
        assert ((x.mean(0) - p.mean.flatten()).abs() < 5 * error + 5 / count).all()
    v = (x * (levels - 1)).round().clamp(0, levels - 1)
    probability = log_masses(family, outputs).exp()
    seen = torch.stack([(v == level).double().mean(0) for level in range(levels)])
    error = (probability * (1 - probability) / count).sqrt()
    assert ((seen - probability).abs() < 5 * error + 5 / count).all()


@pytest.mark.parametrize("score", ["density", "levels"])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_agree_with_finite_differences(name, score):
    levels = 2 if name == "bernoulli" else 17
    family = build(name, (2, 1, 2), levels, score)
    x = grid(levels)[torch.randint(levels, (4, 2, 1, 2))]
    outputs = (2 * torch.randn(4, family.channels, 1, 2, dtype=torch.float64)).requires_grad_()
    parameters = tuple(family.parameters())

    def log_prob(out, *learned):
        named = dict(zip((n for n, _ in family.named_parameters()), learned))
        return torch.func.functional_call(family, named, out).log_prob(x)

    assert torch.autograd.gradcheck(log_prob, (outputs, *parameters), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("score", ["density", "levels"])
@pytest.mark.parametrize("name", FAMILIES)
def test_values_and_gradients_are_finite_at_the_extremes(name, score, dtype, training):
    """Outputs of +-50 in every combination, pixels of exactly 0 and 1."""
    levels = 2 if name == "bernoulli" else 256
    family = build(name, levels=levels, score=score, dtype=dtype).train(training)
    outputs = outputs_for(family, 200, dtype).requires_grad_()
    for value in (0.0, 1.0, 1.0 if levels == 2 else 0.2):
        log_prob = family(outputs).log_prob(torch.full((400, *PIXEL), value, dtype=dtype))
        gradients = torch.autograd.grad(log_prob.sum(), [outputs, *family.parameters()])
        assert torch.isfinite(log_prob).all()
        assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("score", ["density", "levels"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_decoder_that_fits_one_pixel_perfectly_does_not_diverge(name, score):
    """Climbing on a single pixel ends: a mass at log 1 = 0, a density at the peak of its floor."""
    levels = 2 if name == "bernoulli" else 256
    family = build(name, levels=levels, score=score, dtype=torch.float32).train()
    outputs = torch.zeros(1, family.channels, 1, 1, requires_grad=True)
    x = torch.full((1, *PIXEL), 51 / 255 if levels == 256 else 1.0)
    adam = torch.optim.Adam([outputs, *family.parameters()], lr=0.3)
    log_probs = []
    for _ in range(600):
        log_prob = family(outputs).log_prob(x).sum()
        adam.zero_grad()
        (-log_prob).backward()
        adam.step()
        log_probs.append(log_prob.item())
    peak = math.log(1 / (2 * 0.001))  # a Laplace's at its floor, the highest of all
    assert max(log_probs) <= (peak if score == "density" and name in DENSITIES else 0) + 1e-5
    assert max(log_probs) > log_probs[0] and all(map(math.isfinite, log_probs))
    assert all(torch.isfinite(p).all() for p in [outputs, *family.parameters()])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("score", ["density", "levels"])
def test_shapes_and_leading_dimensions(name, score):
    levels = 2 if name == "bernoulli" else 4
    family = build(name, (3, 4, 5), levels, score)
    p = family(torch.randn(2, 6, family.channels, 4, 5, dtype=torch.float64))
    assert p.batch_shape == (2, 6) and p.event_shape == (3, 4, 5)
    assert p.mean.shape == p.sample().shape == (2, 6, 3, 4, 5)
    assert p.log_prob(p.sample()).shape == (2, 6)
    wide = p.expand((7, 2, 6))
    assert wide.batch_shape == (7, 2, 6) and wide.sample().shape == (7, 2, 6, 3, 4, 5)
    x = p.sample()
    assert torch.allclose(wide.log_prob(x)[3], p.log_prob(x), rtol=1e-12)


def test_optimal_sigma_profiles_while_training_and_is_frozen_after():
    """No other sigma gives the batch a larger likelihood; the buffer takes the training set's RMSE."""
    family = LIKELIHOODS["gaussian_optimal_sigma"]((1, 3, 3), 256).double()
    x, loc = torch.rand(2, 10, 1, 3, 3, dtype=torch.float64).unbind()
    fixed = LIKELIHOODS["gaussian_fixed_sigma"]
    others = [
        fixed((1, 3, 3), sigma=s)(loc).log_prob(x).sum() for s in torch.linspace(0.05, 1, 400).tolist()
    ]
    profiled = family.train()(loc).log_prob(x).sum()
    assert profiled > max(others) and profiled - max(others) < 0.01  # the grid's resolution
    family.calibrate([(x[:4], loc[:4]), (x[4:], loc[4:])])
    rmse = (x - loc).square().mean().sqrt()
    assert family.sigma.item() == pytest.approx(rmse.item(), rel=1e-12)
    assert torch.allclose(family.eval()(loc).log_prob(x).sum(), profiled)
    one = family(loc[:1]).log_prob(x[:1])
    assert torch.allclose(family(loc).log_prob(x)[:1], one)  # an image's own density, whatever else


@pytest.mark.parametrize(
    "name, score, images, message",
    [
        ("laplace", "density", torch.tensor([0.5, float("nan")]), "finite"),
        ("laplace", "density", torch.tensor([0.5, float("inf")]), "finite"),
        ("laplace", "density", torch.tensor([-0.1, 0.5]), r"\[0, 1\], got -0.1"),
        ("beta", "density", torch.tensor([0.0, 255.0]), r"\[0, 1\], got 0 to 255"),
        ("laplace", "levels", torch.tensor([0.0, 0.123]), "256 grey levels"),
        ("categorical", "density", torch.tensor([0.0, 0.123]), "256 grey levels"),
    ],
)
def test_images_outside_the_support_are_refused(name, score, images, message):
    family = LIKELIHOODS[name]((1, 1, 2), 256, score)
    with pytest.raises(ValueError, match=message):
        family.check(images.view(1, 1, 1, 2))
    family.check(torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("name", FAMILIES)
def test_arguments_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match="levels: expected at least 2"):
        LIKELIHOODS[name](PIXEL, 1)
    with pytest.raises(ValueError, match="score: expected one of density, levels, got 'mass'"):
        LIKELIHOODS[name](PIXEL, 2, "mass")


def test_scales_and_concentrations_stay_within_their_bounds():
    """The stated floors and ceilings, and the start."""
    raw = torch.tensor([-1e3, 0.0, 1e3], dtype=torch.float64)
    assert bounded_scale(raw).tolist() == pytest.approx([1e-3, 0.25, 1e3], rel=0.01)
    for name in ("gaussian_pixel_sigma", "gaussian_image_sigma"):
        family = LIKELIHOODS[name](PIXEL)
        assert family.pixels(torch.full((1, 2, 1, 1), -1e3)).scale.item() == pytest.approx(
            1e-3, rel=1e-3
        )
    for name in ("gaussian_shared_sigma", "laplace", "student_t"):
        family = LIKELIHOODS[name](PIXEL)
        family.raw_scale.data.fill_(-1e3)
        assert family.pixels(torch.zeros(1, 1, 1, 1)).scale.item() == pytest.approx(1e-3, rel=1e-3)
    beta = LIKELIHOODS["beta"](PIXEL).pixels(torch.tensor([-1e3, 1e3]).view(1, 2, 1, 1))
    assert (beta.a.item(), beta.b.item()) == pytest.approx((1e-2, 1e4), rel=1e-3)
    optimal = LIKELIHOODS["gaussian_optimal_sigma"](PIXEL)
    optimal.calibrate([(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))])
    assert optimal.sigma.item() == pytest.approx(1e-3)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma: expected a positive number"):
        LIKELIHOODS["gaussian_fixed_sigma"](PIXEL, sigma=sigma)


def test_bernoulli_is_no_likelihood_of_grey_levels():
    family = LIKELIHOODS["bernoulli"](PIXEL, 256)
    assert not family.is_likelihood and LIKELIHOODS["bernoulli"](PIXEL, 2).is_likelihood
    with pytest.raises(ValueError, match="no probability to 256 grey levels"):
        family.mass(torch.zeros(1, 1, 1, 1))
    with pytest.raises(ValueError, match="no probability to 256 grey levels"):
        LIKELIHOODS["bernoulli"](PIXEL, 256, "levels")
    assert family(torch.zeros(1, 1, 1, 1)).log_prob(torch.full((1, 1, 1, 1), 0.5)).item() == (
        pytest.approx(-math.log(2))
    )
