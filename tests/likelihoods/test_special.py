"""Special functions against mpmath at 40 digits."""

import math

import mpmath as mp
import pytest
import torch

from pyro_vae.likelihoods import normal_bins, special
from pyro_vae.likelihoods.distributions import Logistic, Normal, StudentT3
from tests.support.references import (
    SHAPES,
    beta_bin_reference,
    logistic_sf,
    normal_sf,
    student_t3_sf,
)

ROUNDING = 1e-10  # float64 functions of a handful of operations


def assert_close(values, references, tolerance):
    """Compare to mpmath numbers, relative where those are large and absolute below one."""
    for value, reference in zip(values.tolist(), references, strict=True):
        assert abs(value - reference) <= tolerance * max(1, abs(reference)), (value, reference)


def derivative(function, *arguments):
    return torch.autograd.grad(function(*arguments).sum(), arguments[0])[0]


def test_log1mexp():
    x = torch.logspace(-12, 2, 60, dtype=torch.float64)
    assert_close(special.log1mexp(x), [mp.log(-mp.expm1(-mp.mpf(v))) for v in x.tolist()], ROUNDING)


def test_bounded_is_increasing_between_its_bounds_and_the_exponential_inside():
    x = torch.linspace(-60, 60, 2001, dtype=torch.float64)
    y = special.bounded(x, 1e-12, 1e12)
    assert (y.diff() >= 0).all() and y.min() >= 1e-12 and y.max() <= 1e12
    assert_close(
        y, [(mp.mpf("1e-12") + mp.exp(v)) / (1 + mp.exp(v) / 10**12) for v in x.tolist()], 1e-13
    )
    raw = torch.linspace(-200, 200, 401, requires_grad=True)
    assert torch.isfinite(derivative(lambda v: special.bounded(v, 1e-3, 1e3), raw)).all()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_erfcx_and_the_gamma_function_are_exact_to_rounding(dtype, tolerance):
    """The relative error of erfcx, and that of log gamma and its derivative beside one."""
    x = torch.cat([torch.zeros(1), torch.logspace(-6, 6, 121)]).to(dtype)
    with mp.workdps(60):
        exact = [mp.exp(mp.mpf(v) ** 2) * mp.erfc(mp.mpf(v)) for v in x.tolist() if v < 1e3]
        for value, reference in zip(normal_bins.erfcx(x).tolist(), exact):
            assert abs(value / reference - 1) < tolerance
    x = torch.logspace(-2, 5, 141, dtype=torch.float64).requires_grad_()
    assert_close(special.log_gamma(x), [mp.loggamma(v) for v in x.tolist()], 1e-13)
    slopes = [mp.digamma(v) for v in x.tolist()]
    assert_close(derivative(special.log_gamma, x), slopes, 1e-13)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_continuous_bernoulli_normaliser_and_mean(dtype, tolerance):
    """To 1e-10 relative in float64 and 1e-6 in float32, for logits from -100 to 100."""
    grid = torch.cat([torch.linspace(-100, 100, 101), torch.logspace(-6, 0.8, 40)])
    logits = torch.cat([grid, -grid]).to(dtype)
    normaliser, mean = special.log_sinhc(logits / 2), special.continuous_bernoulli_mean(logits)
    for a, log_c, m in zip(logits.tolist(), normaliser.tolist(), mean.tolist()):
        a = mp.mpf(a)
        exact = mp.log(mp.sinh(a / 2) / (a / 2)) if a else mp.mpf(0)
        exact_mean = 1 / (1 - mp.exp(-a)) - 1 / a if a else mp.mpf("0.5")
        assert abs(log_c - exact) <= tolerance * abs(exact), a
        assert abs(m - exact_mean) <= tolerance * exact_mean, a


@pytest.mark.parametrize("part", [1 / 256, 0.5])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_a_ratio_of_hyperbolic_sines_and_its_slope(dtype, tolerance, part):
    """From 0 to where sinh overflows; the value to a share of itself and of the log of the part."""
    grid = torch.cat([torch.zeros(1), torch.logspace(-30, 4, 120), torch.tensor([1.0, 256.0])])
    x = torch.cat([grid, -grid]).to(dtype).requires_grad_()
    values = special.log_sinh_ratio(x, part)
    (slopes,) = torch.autograd.grad(values.sum(), x)
    for a, value, slope in zip(*(v.tolist() for v in (x, values, slopes))):
        a, p = mp.mpf(a), mp.mpf(part)
        with mp.workdps(80):
            exact = mp.log(mp.sinh(p * a) / mp.sinh(a)) if a else mp.log(p)
            exact_slope = p * mp.coth(p * a) - mp.coth(a) if a else mp.mpf(0)
        assert abs(value - exact) <= tolerance * abs(exact), a
        assert abs(slope - exact_slope) <= tolerance * abs(exact_slope), a


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_bins_and_tails_agree_with_the_reference(shape):
    """Narrow and wide bins, the centre and 1,000 scales away, to 1e-10."""
    log_bin, log_sf, sf = SHAPES[shape]
    t = torch.tensor([0, 1e-9, 0.1, 1, 3, 8, 40, 1000], dtype=torch.float64)
    h = torch.tensor([1e-9, 1e-3, 0.1, 0.49, 0.51, 3, 50], dtype=torch.float64)
    t, h = (v.flatten() for v in torch.meshgrid(t, h, indexing="ij"))
    with mp.workdps(80 if shape != "normal" else 1000):  # 1 - sf cancels by as many digits
        pairs = [(mp.mpf(a), mp.mpf(b)) for a, b in zip(t.tolist(), h.tolist())]
        assert_close(log_bin(t, h), [mp.log(sf(a - b) - sf(a + b)) for a, b in pairs], ROUNDING)
        both = torch.cat([t, -t])
        assert_close(log_sf(both), [mp.log(sf(mp.mpf(a))) for a in both.tolist()], ROUNDING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_bin_gradients_are_finite_everywhere(shape, dtype):
    log_bin, log_sf, _ = SHAPES[shape]
    t = torch.tensor([0, 1e-9, 0.1, 1, 3, 40, 1e4], dtype=dtype)
    h = torch.tensor([1e-7, 1e-3, 0.3, 1, 50, 1e3], dtype=dtype)
    t, h = (v.flatten().requires_grad_() for v in torch.meshgrid(t, h, indexing="ij"))
    for value in (log_bin(t, h), log_sf(t), log_sf(-t)):
        gradients = torch.autograd.grad(value.sum(), (t, h), allow_unused=True)
        assert torch.isfinite(value).all()
        assert all(torch.isfinite(g).all() for g in gradients if g is not None)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("shape", SHAPES)
def test_tail_gradients_are_minus_the_hazard(shape, dtype, tolerance):
    """d/dt log sf(t), to 10,000 scales, where torch's own `log_ndtr` has it wrong."""
    _, log_sf, sf = SHAPES[shape]
    t = torch.tensor([-3, -0.5, 0.1, 2, 8, 40, 1e3, 1e4], dtype=dtype, requires_grad=True)
    with mp.workdps(60):
        exact = [mp.diff(lambda u: mp.log(sf(u)), mp.mpf(v)) for v in t.tolist()]
    for value, reference in zip(derivative(log_sf, t).tolist(), exact):
        assert abs(value - reference) <= tolerance * abs(reference)


def logistic_density(t):
    return logistic_sf(t) * logistic_sf(-t)


def student_t3_density(t):
    return 6 * mp.sqrt(3) / mp.pi / (3 + t * t) ** 2


WITH_SLOPES = {
    "normal": (Normal, normal_sf, mp.npdf),
    "logistic": (Logistic, logistic_sf, logistic_density),
    "student_t3": (StudentT3, student_t3_sf, student_t3_density),
}


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("sign", [0, 1, -1])
@pytest.mark.parametrize("shape", WITH_SLOPES)
def test_bins_and_tails_have_the_right_slopes(shape, sign, dtype, tolerance):
    """By the middle and by half the width: of narrow, steep and wide bins, and of tails."""
    family, sf, density = WITH_SLOPES[shape]
    t = torch.tensor([-40, -3, -0.5, 0.1, 1.5, 2, 8, 40, 1e3], dtype=dtype)
    h = torch.tensor([1e-3, 0.1, 0.3, 0.49, 0.51, 3, 50], dtype=dtype)
    given = t, h = [v.flatten().requires_grad_() for v in torch.meshgrid(t, h, indexing="ij")]
    signs = torch.full_like(t, sign).detach()
    value = family(torch.zeros(()), torch.ones(())).log_bins(t, h, signs, signs != 0)
    slopes = torch.autograd.grad(value.sum(), given)
    with mp.workdps(60):
        for n, (a, b) in enumerate(zip(*(map(mp.mpf, v.tolist()) for v in given))):
            below = density(a - b) if sign >= 0 else mp.mpf(0)
            above = density(a + b) if sign <= 0 else mp.mpf(0)
            mass = sf(abs(a) - b) - sf(abs(a) + b)
            mass = mass if sign == 0 else sf(sign * a - b)
            exact = mp.log(mass), (above - below) / mass, (above + below) / mass
            for found, reference in zip((value, *slopes), exact):
                error = abs(found[n].item() - reference)
                assert error <= tolerance * max(1, abs(reference)), (a, b, found[n], reference)


def test_the_reference_of_the_beta_bins_agrees_with_the_incomplete_beta_function():
    for a, b, level, levels in [(0.3, 7, 0, 17), (3.3, 0.7, 3, 17), (12, 30, 80, 256)]:
        ends = mp.mpf(level) / levels, mp.mpf(level + 1) / levels
        exact = mp.log(mp.betainc(a, b, *ends, regularized=True))
        assert abs(beta_bin_reference(a, b, level, levels) - exact) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_beta_bins_agree_with_the_reference(levels):
    """To 1e-6, over all that the floor and the ceiling of the concentrations allow, U-shapes too."""
    count = 40
    a, b = (10 ** (-2 + 6 * torch.rand(2, count, dtype=torch.float64))).unbind()
    a[:6] = torch.tensor([1e-2, 1e-2, 1e4, 1e4, 0.5, 1.0])
    b[:6] = torch.tensor([1e-2, 1e4, 1e-2, 1e4, 0.5, 1.0])
    level = torch.randint(levels, (count,)).double()
    level[6:17], level[17:28] = 0, levels - 1
    value = special.log_beta_bin(a, b, level, levels)
    for row in zip(value.tolist(), a.tolist(), b.tolist(), level.tolist()):
        assert abs(row[0] - beta_bin_reference(*row[1:], levels)) < 1e-6, row


@pytest.mark.slow
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_gradients_of_beta_bins_are_finite_differences_over_all_concentrations(levels):
    """Of log a and log b; differences over 2e-6 leave 1e-4 of sums of up to 10^5."""
    log_a, log_b = ((-2 + 6 * torch.rand(2, 60, dtype=torch.float64)) * math.log(10)).unbind()
    level = torch.randint(levels, (60,)).double()
    level[:20], level[20:40] = 0, levels - 1

    def log_prob(log_a, log_b):
        return special.log_beta_bin(log_a.exp(), log_b.exp(), level, levels)

    given = log_a.requires_grad_(), log_b.requires_grad_()
    assert torch.autograd.gradcheck(log_prob, given, atol=1e-3, rtol=1e-4, fast_mode=False)


TWICE = {
    "log_sinhc": special.log_sinhc,
    "log_sinh_ratio": lambda x: special.log_sinh_ratio(x, 0.5),
    "log_normal_sf": normal_bins.log_normal_sf,
    "log_gamma": special.log_gamma,
    "log_beta_bin": lambda x: special.log_beta_bin(x, x, torch.tensor(3.0), 17),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_second_derivative_is_refused(name):
    """It would be zero, or lack a part. First ones can be had alone, batched, and kept as a graph."""
    x = torch.tensor([0.7, 2.0], dtype=torch.float64, requires_grad=True)
    slope = torch.func.vmap(torch.func.grad(TWICE[name]))
    (first,) = torch.autograd.grad(TWICE[name](x).sum(), x, create_graph=True)
    assert torch.equal(first, slope(x.detach()))
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        torch.autograd.grad(first.sum(), x)
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        torch.func.grad(lambda x: slope(x).sum())(x.detach())
