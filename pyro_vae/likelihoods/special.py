"""Special functions that torch lacks: probabilities of narrow intervals and their logarithms.

All functions are elementwise, differentiable and exact in the far tails. They are captured and
vmapped as plain torch operations without data-dependent control flow.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

LOG_2 = math.log(2)
LOG_2PI = math.log(2 * math.pi)


def softclip(x: Tensor, low: float, high: float) -> Tensor:
    """Map the real line smoothly and monotonically onto (low, high), close to the identity inside.

    `low + softplus(x - low) - softplus(x - high)`
    """
    return low + softplus(x - low, threshold=40) - softplus(x - high, threshold=40)


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


def _polynomial(coefficients: list, x: Tensor) -> Tensor:
    value = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value


def log_sinhc(x: Tensor) -> Tensor:
    """Return `log(sinh(x) / x)`, computed by its series where `|x| < 1`."""
    small = x.abs() < 1
    s, a = torch.where(small, x, 0.0), torch.where(small, 1.0, x.abs())
    series = s**2 * _polynomial([c / (2 * k + 2) for k, c in enumerate(_LANGEVIN)], s**2)
    return torch.where(small, series, a + log1mexp(2 * a) - (2 * a).log())


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """Return the mean of the density proportional to exp(logits * y) on [0, 1].

    `1 / (1 - exp(-logits)) - 1 / logits`, computed by its series where `|logits| < 2`.

    Source: Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders", 2019, https://arxiv.org/abs/1907.06845.
    """
    half = logits / 2
    small = half.abs() < 1
    s, a = torch.where(small, half, 0.0), torch.where(small, 2.0, logits.abs())
    series = 0.5 + 0.5 * s * _polynomial(_LANGEVIN, s**2)
    lower = 1 / a + torch.exp(-a) / torch.expm1(-a)
    return torch.where(small, series, torch.where(logits < 0, lower, 1 - lower))


# --- standard symmetric distributions: log survival function, log P(|T - t| < h) for t >= 0 ----

_NODES, _WEIGHTS = (v[4:].tolist() for v in np.polynomial.legendre.leggauss(8))


def log_normal_sf(t: Tensor) -> Tensor:
    """Return the log survival function of the standard Normal.

    It uses erfcx, because the gradient of torch's own `log_ndtr` is wrong in the far tail (by a
    factor of 6 at 10,000 sigma in float32).
    """
    right, left = t.clamp_min(0) / math.sqrt(2), t.clamp_max(0) / math.sqrt(2)
    tail = torch.special.erfcx(right).log() - LOG_2 - right**2
    return torch.where(t > 0, tail, torch.log1p(-torch.erfc(-left) / 2))


# The slope t * h of the log density over half a bin up to which eight nodes are exact to rounding:
# the relative error is 1e-18 slope^16, up to a factor of ten.
_STEEPEST, _STEEPEST_IN_FLOAT64 = 5.0, 2.0


def log_normal_bin(t: Tensor, h: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of a standard Normal T, for t >= 0.

    Narrow bins, where a difference of CDFs would cancel, use Gauss-Legendre quadrature around the
    midpoint. The other bins use this difference in log space.
    """
    steepest = _STEEPEST_IN_FLOAT64 if t.dtype == torch.float64 else _STEEPEST
    narrow = (h < 0.5) & (t * h < steepest)
    if _all_seen(narrow):
        return _log_narrow_normal_bin(t, h)
    near = _log_narrow_normal_bin(torch.where(narrow, t, 0.0), torch.where(narrow, h, 0.25))
    t, h = torch.where(narrow, 1.0, t), torch.where(narrow, 1.0, h)
    upper, lower = log_normal_sf(t - h), log_normal_sf(t + h)
    return torch.where(narrow, near, upper + log1mexp(upper - lower))


def _all_seen(mask: Tensor) -> bool:
    """Return whether all entries are true, or False if reading them is not free.

    Reading them syncs a GPU, and fails while a graph is captured.
    """
    return mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all())


def _log_narrow_normal_bin(t: Tensor, h: Tensor) -> Tensor:
    """Return the log probability of a narrow bin, by Gauss-Legendre quadrature with eight nodes.

    At the node u the density is `exp(-u (t + u / 2))` times that at the midpoint.
    """
    mean = torch.zeros_like(t)
    for s, weight in zip(_NODES, _WEIGHTS):
        for u in (h * s, -h * s):
            mean = mean + weight / 2 * torch.exp(-u * (t + u / 2))
    return -(t**2) / 2 - LOG_2PI / 2 + (2 * h).log() + mean.log()


def log_logistic_sf(t: Tensor) -> Tensor:
    """Return the log survival function of the standard logistic distribution."""
    return logsigmoid(-t)


def log_logistic_bin(t: Tensor, h: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of a standard logistic T.

    It is a product, so that nothing cancels.
    """
    return logsigmoid(t + h) + logsigmoid(h - t) + log1mexp(2 * h)


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
    return torch.where(small, s**3 * _polynomial(coefficients, s**2), x - torch.sin(x))


def student_t3_sf(t: Tensor) -> Tensor:
    """Return the survival function of Student's t with three degrees of freedom.

    `(x - sin x) / (2 pi)` with `x = 2 arccot(t / sqrt(3))`
    """
    return _x_minus_sin(2 * torch.atan2(torch.full_like(t, math.sqrt(3)), t)) / (2 * math.pi)


def log_student_t3_sf(t: Tensor) -> Tensor:
    """Return the log survival function of Student's t with three degrees of freedom."""
    return student_t3_sf(t).log()


def log_student_t3_bin(t: Tensor, h: Tensor) -> Tensor:
    """Return `log P(t - h < T < t + h)` of Student's t with three degrees of freedom, for t >= 0."""
    width = (3 + t**2).sqrt()
    narrow = h < width / 4
    u, v = t / width, torch.where(narrow, h / width, 0.0)
    # density at the nodes over the density at t: (3 + t^2)^2 / (3 + (t + h s)^2)^2
    ratios = [(1 + 2 * u * v * s + (v * s) ** 2) ** -2 for s in _NODES + [-s for s in _NODES]]
    mean = sum(w * r for w, r in zip(_WEIGHTS * 2, ratios)) / 2
    near = math.log(6 * math.sqrt(3) / math.pi) - 4 * width.log() + (2 * h).log() + mean.log()
    t, h = torch.where(narrow, 1.0, t), torch.where(narrow, 1.0, h)
    return torch.where(narrow, near, (student_t3_sf(t - h) - student_t3_sf(t + h)).log())


# --- the incomplete beta function --------------------------------------------------------------

_BETA_DROP = 18.0  # the integrand is cut where it has fallen by this many nats: exp(-18) = 1.5e-8


def _beta_rule(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return Gauss-Legendre nodes and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    with torch.inference_mode(False):
        return torch.tensor(nodes, device=device), torch.tensor(weights, device=device)


_kept_beta_rule = cache(_beta_rule)  # copying them to a GPU in each step would sync it


def _beta_window(a: Tensor, b: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the part of [low, high] outside which exp(f) is negligible.

    `f(u) = a log s(u) + b log s(-u)` is concave; s is the sigmoid function.
    """

    def f(u):
        return a * logsigmoid(u) + b * logsigmoid(-u)

    mode = (a.log() - b.log()).clamp(min=low, max=high)
    slope = a * torch.sigmoid(-mode) - b * torch.sigmoid(mode)
    curvature = (a + b) * torch.sigmoid(mode) * torch.sigmoid(-mode)
    ends = []
    for sign in (-1.0, 1.0):
        reach = _BETA_DROP / ((-sign * slope).clamp_min(0) + (_BETA_DROP / 2 * curvature).sqrt())
        # Newton's method: f is concave, so a start outside the window converges without overshoot.
        for _ in range(4):
            u = mode + sign * reach
            descent = (sign * (b * torch.sigmoid(u) - a * torch.sigmoid(-u))).clamp_min(1e-30)
            reach = (reach - (f(mode) - f(u) - _BETA_DROP) / descent).clamp(0, 1e6)
        ends.append(mode + sign * reach)
    return torch.maximum(low, ends[0]), torch.minimum(high, ends[1])


def log_beta_bin(a: Tensor, b: Tensor, level: Tensor, levels: int) -> Tensor:
    """Return log P(level / levels < Y < (level + 1) / levels) for Y ~ Beta(a, b).

    `level` runs from 0 to levels - 1. With u = logit(y) the integrand exp(a log s(u) + b log s(-u))
    is log-concave. Gauss-Legendre quadrature covers the window where the integrand is not
    negligible. It is exact to 1e-7 for a and b between 0.01 and 10,000.

    In the first bin, a small a makes a tail of length 1 / a. There the identity

        B_y(a, b) = y^a (1 - y)^b / a + (a + b) / a * B_y(a + 1, b)

    first raises a by one; its two terms are positive. The last bin is the mirror image. All is
    computed in float64, because a + b may be large and the normaliser then cancels.
    """
    dtype = a.dtype
    a, b, level = a.double(), b.double(), level.double()
    first, last = level == 0, level == levels - 1
    a_raised, b_raised = a + first, b + last
    with torch.no_grad():
        low = level.log() - (levels - level).log()
        high = (level + 1).log() - (levels - 1 - level).log()
        low, high = _beta_window(a_raised, b_raised, low, high)
        middle, half = ((low + high) / 2).unsqueeze(-1), ((high - low) / 2).unsqueeze(-1)
        rule = _beta_rule if torch.compiler.is_compiling() else _kept_beta_rule
        nodes, weights = rule(a.device)
        u, log_weights = middle + half * nodes, (half * weights).log()
    log_integrand = a_raised.unsqueeze(-1) * logsigmoid(u) + b_raised.unsqueeze(-1) * logsigmoid(-u)
    log_integral = torch.logsumexp(log_integrand + log_weights, -1)
    outer, inner = torch.where(first, a, b), torch.where(first, b, a)
    edge = inner * math.log1p(-1 / levels) - outer * math.log(levels) - outer.log()
    at_end = torch.logaddexp(edge, ((a + b) / outer).log() + log_integral)
    log_mass = torch.where(first | last, at_end, log_integral)
    return (log_mass - torch.lgamma(a) - torch.lgamma(b) + torch.lgamma(a + b)).to(dtype)
