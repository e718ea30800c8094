"""Every family of the dict: samples, gradients, extremes, refusals."""

import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.likelihoods.base import bounded_scale
from tests.support.families import DENSITIES, FAMILIES, PIXEL, build, grid, log_masses, outputs_for
from tests.support.programs import images, model

PROFILED = "gaussian_optimal_sigma"  # the family that is another one in training


@pytest.mark.parametrize("score", ["density", "levels"])
@pytest.mark.parametrize("name", FAMILIES)
def test_samples_have_the_mean_and_the_probabilities_of_the_distribution(name, score):
    """Within 5 standard errors, for eight outputs at every level."""
    levels, count = (2 if name == "bernoulli" else 8), 10_000
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


@pytest.mark.slow
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


@pytest.mark.parametrize("name, training", [*((f, True) for f in FAMILIES), (PROFILED, False)])
def test_values_and_gradients_are_finite_at_the_extremes(name, training):
    """Outputs of +-50 in every combination, pixels of exactly 0 and 1."""
    for score, dtype in itertools.product(["density", "levels"], [torch.float32, torch.float64]):
        assert_finite_at_the_extremes(name, training, score, dtype)


def assert_finite_at_the_extremes(name, training, score, dtype):
    levels = 2 if name == "bernoulli" else 256
    family = build(name, levels=levels, score=score, dtype=dtype).train(training)
    outputs = outputs_for(family, 200, dtype).requires_grad_()
    for value in (0.0, 1.0, 1.0 if levels == 2 else 0.2):
        log_prob = family(outputs).log_prob(torch.full((400, *PIXEL), value, dtype=dtype))
        gradients = torch.autograd.grad(log_prob.sum(), [outputs, *family.parameters()])
        assert torch.isfinite(log_prob).all()
        assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["density", "levels"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_decoder_that_fits_one_pixel_perfectly_does_not_diverge(name, score):
    """Climbing on a single pixel ends: a mass at log 1 = 0, a density at the peak of its floor."""
    levels = 2 if name == "bernoulli" else 256
    family = build(name, levels=levels, score=score, dtype=torch.float32).train()
    outputs = torch.zeros(1, family.channels, 1, 1, requires_grad=True)
    x = torch.full((1, *PIXEL), 51 / 255 if levels == 256 else 1.0)
    adam = torch.optim.Adam([outputs, *family.parameters()], lr=0.6)
    log_probs = []
    for _ in range(100):
        log_prob = family(outputs).log_prob(x).sum()
        adam.zero_grad()
        (-log_prob).backward()
        adam.step()
        log_probs.append(log_prob.item())
    peak = math.log(1 / (2 * 0.001))  # a Laplace's at its floor, the highest of all
    assert max(log_probs) <= (peak if score == "density" and name in DENSITIES else 0) + 1e-5
    assert max(log_probs) > log_probs[0] and all(map(math.isfinite, log_probs))
    assert all(torch.isfinite(p).all() for p in [outputs, *family.parameters()])


@pytest.mark.parametrize(
    "name, score, images, message",
    [
        ("laplace", "density", [0.5, math.inf], "finite"),
        ("beta", "density", [0.0, 255.0], r"\[0, 1\], got 0 to 255"),
        ("laplace", "levels", [0.0, 0.123], "256 grey levels"),
        ("categorical", "density", [0.0, 0.123], "256 grey levels"),
    ],
)
def test_images_outside_the_support_are_refused(name, score, images, message):
    family = LIKELIHOODS[name]((1, 1, 2), 256, score)
    with pytest.raises(ValueError, match=message):
        family.check(torch.tensor(images).view(1, 1, 1, 2))
    family.check(torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("name", FAMILIES)
def test_arguments_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match="levels: expected at least 2"):
        LIKELIHOODS[name](PIXEL, 1)
    with pytest.raises(ValueError, match="score: unknown name 'mass'; expected one of density"):
        LIKELIHOODS[name](PIXEL, 2, "mass")


def test_scales_and_concentrations_stay_within_their_bounds():
    """The stated floors and ceilings, and the start."""
    raw = torch.tensor([-1e3, 0.0, 1e3], dtype=torch.float64)
    assert bounded_scale(raw).tolist() == pytest.approx([1e-3, 0.25, 1e3], rel=0.01)
    for name in ("gaussian_pixel_sigma", "gaussian_image_sigma"):
        family = LIKELIHOODS[name](PIXEL)
        scale = family.pixels(torch.full((1, 2, 1, 1), -1e3)).scale
        assert scale.item() == pytest.approx(1e-3, rel=1e-3)
    for name in ("gaussian_shared_sigma", "laplace", "student_t"):
        family = LIKELIHOODS[name](PIXEL)
        family.raw_scale.data.fill_(-1e3)
        assert family.pixels(torch.zeros(1, 1, 1, 1)).scale.item() == pytest.approx(1e-3, rel=1e-3)
    outputs = torch.tensor([-1e3, 1e3]).view(1, 2, 1, 1)
    for beta in (
        LIKELIHOODS["beta"](PIXEL).pixels(outputs),
        LIKELIHOODS["beta_binomial"](PIXEL).mass(outputs).base_dist,
    ):
        assert (beta.a.item(), beta.b.item()) == pytest.approx((1e-2, 1e4), rel=1e-3)
    optimal = LIKELIHOODS["gaussian_optimal_sigma"](PIXEL)
    optimal.calibrate([(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))])
    assert optimal.sigma.item() == pytest.approx(1e-3)


@pytest.mark.parametrize("name", ["beta", "beta_binomial"])
def test_a_parameter_at_its_bound_still_learns(name):
    """Outputs at log 0.01 and log 10,000 have half the slope of outputs between them."""
    family = build(name, levels=17, score="levels")
    outputs = torch.tensor([1e-2, 1e4], dtype=torch.float64).log()
    outputs = outputs.view(1, 2, 1, 1).requires_grad_()
    x = torch.full((1, *PIXEL), 0.5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(family(outputs).log_prob(x).sum(), outputs)
    assert gradient[0, 0] > 0.1 and gradient[0, 1] < -1e-3
    assert torch.autograd.gradcheck(lambda out: family(out).log_prob(x), outputs, rtol=1e-4)


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


@pytest.mark.cuda
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_cuda_and_cpu_score_alike(name):
    """The same weights, images and latents in float64: equal to rounding."""
    vae, x, z = model(name).double().eval(), images().double(), torch.randn(40, 2).double()
    here = vae.decode(z).log_prob(x)
    there = vae.to("cuda").decode(z.to("cuda")).log_prob(x.to("cuda")).cpu()
    assert torch.allclose(here, there, rtol=1e-9, atol=1e-9)


class Joined(TorchDispatchMode):
    """Keeps the tensors that are put together."""

    def __init__(self):
        super().__init__()
        self.parts = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function == torch.ops.aten.cat.default:
            self.parts += args[0]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_of_channels_are_not_interleaved(name):
    """Inductor lays channels last what is put together from images that could have them last."""
    family, x = build(name, (1, 4, 4), 2, "levels"), torch.zeros(3, 1, 4, 4).double()
    outputs = torch.randn(3, family.channels, 4, 4, dtype=torch.float64, requires_grad=True)
    with Joined() as joined:
        family.mass(outputs).log_prob(x).sum().backward()
    images = [part for part in joined.parts if part.ndim == 4]
    assert not any(part.is_contiguous(memory_format=torch.channels_last) for part in images)
