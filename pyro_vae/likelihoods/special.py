"""Special functions that torch lacks: probabilities of narrow intervals and their logarithms.

All functions are elementwise, differentiable and exact in the far tails. They are captured and
vmapped as plain torch operations without data-dependent control flow.
"""

import math

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyro_vae.likelihoods.derivatives import with_derivatives

LOG_2 = math.log(2)
LOG_2PI = math.log(2 * math.pi)


def bounded(log_x: Tensor, low: float, high: float) -> Tensor:
    """Return exp(log_x), kept between two positive bounds by a smooth and increasing function.

    `(low + x) / (1 + x / high)`
    """
    return low + (high - low) * torch.sigmoid(log_x - math.log(high))


def log1mexp(x: Tensor) -> Tensor:
    """Return `log(1 - exp(-x))` for x > 0.

    Source: Mächler, "Accurately computing `log(1 - exp(-|a|))`", 2012.
    """
    return torch.where(
        x < LOG_2, (-torch.expm1(-x)).log(), torch.log1p(-torch.exp(-x.clamp_min(LOG_2)))
    )


# --- sinh(x) / x: the continuous Bernoulli ---------------------------------------------------


def _langevin_coefficients(terms: int) -> list[float]:
    """Return c with L(x) = sum_k c[k] x^(2k+1), from the equation L' = 1 - L^2 - 2 L / x."""
    c = [1 / 3]
    for k in range(1, terms):
        c.append(-sum(c[i] * c[k - 1 - i] for i in range(k)) / (2 * k + 3))
    return c


_LANGEVIN = _langevin_coefficients(14)


def _langevin_terms(x: Tensor) -> list[float]:
    """Return as many of the coefficients as the digits of x need."""
    return _LANGEVIN if x.dtype == torch.float64 else _LANGEVIN[:8]


def polynomial(coefficients: list, x: Tensor) -> Tensor:
    """Return the polynomial with such coefficients, the constant first, at x."""
    value = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value


def langevin(x: Tensor) -> Tensor:
    """Return `coth(x) - 1 / x`, the derivative of `log(sinh(x))` less that of `log(x)`."""
    small = x.abs() < 1
    s, a = torch.where(small, x, 0.0), torch.where(small, 1.0, x.abs())
    large = torch.sign(x) * (1 + 2 / torch.expm1(2 * a) - 1 / a)
    return torch.where(small, s * polynomial(_langevin_terms(x), s**2), large)


def log_sinhc(x: Tensor) -> Tensor:
    """Return `log(sinh(x) / x)`, computed by its series where `|x| < 1`."""
    given, x = x, x.detach()
    small = x.abs() < 1
    s, a = torch.where(small, x, 0.0), torch.where(small, 1.0, x.abs())
    coefficients = [c / (2 * k + 2) for k, c in enumerate(_langevin_terms(x))]
    large = a + log1mexp(2 * a) - (2 * a).log()
    value = torch.where(small, s**2 * polynomial(coefficients, s**2), large)
    return with_derivatives(value, [given], lambda: [langevin(x)])


def log_sinh_ratio(x: Tensor, part: float) -> Tensor:
    """Return `log(sinh(part x) / sinh(x))` for a part between 0 and 1, which is its limit at 0."""
    given, x = x, x.detach()
    a = x.abs().clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
    ratio = torch.expm1(-2 * part * a) / torch.expm1(-2 * a)
    value = ratio.log() - (1 - part) * a
    return with_derivatives(value, [given], lambda: [part * langevin(part * x) - langevin(x)])


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """Return the mean of the density proportional to exp(logits * y) on [0, 1].

    `1 / (1 - exp(-logits)) - 1 / logits`, computed by its series where `|logits| < 2`.

    Source: Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders", 2019, https://arxiv.org/abs/1907.06845.
    """
    near = logits.abs() < 2
    series = 0.5 + 0.5 * langevin(torch.where(near, logits / 2, 0.0))
    a = torch.where(near, 2.0, logits.abs())
    lower = 1 / a + torch.exp(-a) / torch.expm1(-a)
    return torch.where(near, series, torch.where(logits < 0, lower, 1 - lower))


def can_look(x: Tensor) -> bool:
    """Return whether reading a tensor's entries is free.

    It syncs a GPU, and fails while a graph is captured and under `torch.func`.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return torch._C._functorch.maybe_current_level() is None


# --- standard symmetric distributions: log survival function, log P(|T - t| < h) for t >= 0 ----


def log_logistic_sf(t: Tensor) -> Tensor:
    """Return the log survival function of the standard logistic distribution."""
    return logsigmoid(-t)


def log_logistic_bin(t: Tensor, h: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of a standard logistic T."""
    return log_logistic_bins(t, h, torch.ones_like(t), torch.zeros_like(t, dtype=torch.bool))


def log_logistic_bins(t: Tensor, h: Tensor, sign: Tensor, at_end: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of a standard logistic T, or of a tail at an end.

    With `d = exp(-||t| - h|)` and `s = exp(-|t| - h)`, a bin has the probability
    `exp(-max(|t| - h, 0)) (1 - exp(-2 h)) / ((1 + d) (1 + s))` and a tail one over `1 + d` or
    `1 + s`: nothing cancels.

    Args:
        t, h: the middle and half the width of each bin.
        sign: 1 where the tail goes upwards from t - h, -1 where it goes downwards from t + h.
        at_end: whether a bin is a tail.
    """
    given, t, h = (t, h), t.detach(), h.detach()
    gap, reach = t.abs() - h, t.abs() + h
    d, s, mass = torch.exp(-gap.abs()), torch.exp(-reach), -torch.expm1(-2 * h)
    within = at_end & (sign * t <= 0)  # the tail has the mode
    rest = torch.where(at_end, torch.where(within, s, d), (1 - mass + d + s + d * s) / mass)
    value = -torch.where(within, 0.0, gap.clamp_min(0)) - torch.log1p(rest)

    def slopes():
        below, beyond = torch.where(gap > 0, 1.0, d) / (1 + d), s / (1 + s)  # T < gap, T > reach
        hazard = torch.where(within, beyond, below)  # of the tail
        yield torch.where(at_end, -sign * hazard, t.sign() * (beyond - below))
        yield torch.where(at_end, hazard, beyond + below + 2 / mass - 2)

    return with_derivatives(value, given, slopes)


def log_laplace_sf(t: Tensor) -> Tensor:
    """Return the log survival function of the standard Laplace distribution."""
    return torch.where(t > 0, -t - LOG_2, torch.log1p(-torch.exp(t.clamp_max(0)) / 2))


def log_laplace_bin(t: Tensor, h: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of a standard Laplace T, for t >= 0."""
    beside = h - t - LOG_2 + log1mexp(2 * h)
    across = -(torch.expm1((t - h).clamp_max(0)) + torch.expm1(-t - h)) / 2
    return torch.where(t > h, beside, across.log())


def _x_minus_sin(x: Tensor) -> Tensor:
    small = x < 1
    s = torch.where(small, x, 0.0)
    coefficients = [(-1) ** k / math.factorial(2 * k + 3) for k in range(8)]
    return torch.where(small, s**3 * polynomial(coefficients, s**2), x - torch.sin(x))


_STUDENT_T3 = 6 * math.sqrt(3) / math.pi  # its density is this over (3 + t^2)^2


def log_student_t3_sf(t: Tensor) -> Tensor:
    """Return the log survival function of Student's t with three degrees of freedom.

    `(x - sin x) / (2 pi)` with `x = 2 arccot(t / sqrt(3))`
    """
    given, t = t, t.detach()
    sf = _x_minus_sin(2 * torch.atan2(torch.full_like(t, math.sqrt(3)), t)) / (2 * math.pi)
    return with_derivatives(sf.log(), [given], lambda: [-_STUDENT_T3 / sf / (3 + t**2) ** 2])


def log_student_t3_bin(t: Tensor, h: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of Student's t with three degrees of freedom, for t >= 0.

    With x = arccot of an end over sqrt(3), their difference d and sum s, it is

        (d - sin d + sin d (1 - cos s)) / pi

    Both terms are positive, so that nothing cancels.
    """
    given, t, h = (t, h), t.detach(), h.detach()
    low, high, width = t - h, t + h, 2 * math.sqrt(3) * h
    below, above = 1 / (3 + low**2), 1 / (3 + high**2)
    root = (below * above).sqrt()
    d, sine = torch.atan2(width, low * high + 3), width * root
    cosine = (low * high - 3) * root  # of s
    beyond = cosine > 0
    far = 12 * (t * root) * (t * root) / (1 + torch.where(beyond, cosine, 0.0))
    versine = torch.where(beyond, far, 1 - cosine)
    mass = (_x_minus_sin(d) + sine * versine) / math.pi

    def slopes():
        yield -_STUDENT_T3 / mass * 4 * t * h * below * above * (below + above)
        yield _STUDENT_T3 / mass * (below**2 + above**2)

    return with_derivatives(mass.log(), given, slopes)


# --- the incomplete beta function --------------------------------------------------------------

_STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156]


def log_gamma(x: Tensor) -> Tensor:
    """Return the log gamma function for x > 0 in float64, by Stirling's series.

    It is the series at x + 8, where it is exact to rounding, less the log of `x (x + 1) ... (x + 7)`.
    The latter is a polynomial in `q = x (x + 7)`, since `(x + n) (x + 7 - n) = q + n (7 - n)`.
    """
    given, x = x, x.detach()
    q, z = x * (x + 7), x + 8
    product = q * polynomial([720, 252, 28, 1], q)
    log_z, inverse = z.log(), 1 / z
    square = inverse**2
    value = (z - 0.5) * log_z - z + LOG_2PI / 2 + inverse * polynomial(_STIRLING, square)

    def digamma():
        slope = (2 * x + 7) * polynomial([720, 504, 84, 4], q)  # of the product
        terms = polynomial([(2 * k + 1) * c for k, c in enumerate(_STIRLING)], square)
        yield log_z - inverse / 2 - square * terms - slope / product

    return with_derivatives(value - product.log(), [given], digamma)


_BETA_DROP = 17.0  # the integrand is cut where it has fallen by this many nats: exp(-17) = 4e-8
_BETA_NODES = list(zip(*(v.tolist() for v in leggauss(18))))


def _log_sigmoid(u: Tensor) -> tuple[Tensor, Tensor]:
    """Return log s(u) and s(u), s being the sigmoid function, by one exponential."""
    e = torch.exp(-u.abs())
    return u.clamp_max(0) - torch.log1p(e), torch.where(u > 0, 1.0, e) / (1 + e)


def _beta_window(a: Tensor, b: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return an interval outside which exp(f) on [low, high] is negligible, and the largest f.

    In u = logit(y), `f(u) = a log s(u) + b log s(-u)` is concave; s is the sigmoid function.
    """
    mode = (a / b).log().clamp(min=low, max=high)
    log_s, s = _log_sigmoid(mode)
    largest, slope = (a + b) * log_s - b * mode, a - (a + b) * s
    curvature = (a + b) * s * torch.sigmoid(-mode)
    ends = []
    for sign in (-1.0, 1.0):
        reach = _BETA_DROP / ((-sign * slope).clamp_min(0) + (_BETA_DROP / 2 * curvature).sqrt())
        # Newton's method: f is concave, so a start outside the window converges without overshoot.
        for _ in range(4):
            u = mode + sign * reach
            log_s, s = _log_sigmoid(u)
            drop = largest - (a + b) * log_s + b * u
            descent = (sign * ((a + b) * s - a)).clamp_min(1e-30)
            reach = (reach - (drop - _BETA_DROP) / descent).clamp(0, 1e6)
        ends.append(mode + sign * reach)
    return ends[0], ends[1], largest


def _log_beta_integral(a: Tensor, b: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the log of the integral of y^(a - 1) (1 - y)^(b - 1) for logit(y) in [low, high].

    Gauss-Legendre quadrature over y^(1/4) covers the window where the integrand is not negligible.
    For a from one on, the integrand is smooth there. The derivatives are the means of log y and
    log (1 - y).
    """
    given, (a, b) = (a, b), (a.detach(), b.detach())
    window = _beta_window(a.float(), b.float(), low.float(), high.float())
    first, last, largest = (v.double() for v in window)  # their last digits do not matter
    ends = torch.maximum(low, first), torch.minimum(high, last)
    low, high = (torch.exp(_log_sigmoid(u)[0] / 4) for u in ends)
    middle, half = (low + high) / 2, (high - low) / 2
    total, sum_y, sum_rest = torch.zeros_like(a), 0, 0
    for node, weight in _BETA_NODES:
        root = middle + node * half
        rest = 1 - root.square().square()
        log_y, log_rest = 4 * root.log(), rest.log()
        density = weight * torch.exp(a * log_y + b * log_rest - largest) / (root * rest)
        total = total + density
        sum_y, sum_rest = sum_y + density * log_y, sum_rest + density * log_rest
    value = (4 * half * total).log() + largest
    return with_derivatives(value, given, lambda: [sum_y / total, sum_rest / total])


def log_beta_bin(a: Tensor, b: Tensor, level: Tensor, levels: int) -> Tensor:
    """Return log P(level / levels < Y < (level + 1) / levels) for Y ~ Beta(a, b).

    `level` runs from 0 to levels - 1. Bins in the upper half are mirrored into the lower half. The
    quadrature is exact to 2e-7 for a and b between 0.01 and 10,000.

    In the first bin, a small a makes a pole at 0. There the identity

        B_y(a, b) = y^a (1 - y)^b / a + (a + b) / a * B_y(a + 1, b)

    first raises a by one; its two terms are positive. All is computed in float64, because a + b may
    be large and the normaliser then cancels.
    """
    dtype = a.dtype
    a, b, level = a.double(), b.double(), level.double()
    upper = 2 * level > levels - 1
    a, b = torch.where(upper, b, a), torch.where(upper, a, b)
    level = torch.where(upper, levels - 1 - level, level)
    first = level == 0
    low = level.log() - (levels - level).log()
    high = (level + 1).log() - (levels - 1 - level).log()
    log_integral = _log_beta_integral(a + first, b, low, high)
    edge = b * math.log1p(-1 / levels) - a * math.log(levels) - a.log()
    at_end = torch.logaddexp(edge, ((a + b) / a).log() + log_integral)
    log_mass = torch.where(first, at_end, log_integral)
    gamma_a, gamma_b, gamma_sum = log_gamma(torch.stack([a, b, a + b]))
    return (log_mass - gamma_a - gamma_b + gamma_sum).to(dtype)
