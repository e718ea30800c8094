"""What special functions and families of likelihoods say, once more, in mpmath at 40 digits."""

import mpmath as mp
import torch

from pyro_vae.likelihoods import normal_bins, special
from pyro_vae.likelihoods.base import bounded_scale

mp.mp.dps = 40


def normal_sf(t):
    """P(T > t), as those that follow."""
    return mp.erfc(t / mp.sqrt(2)) / 2


def logistic_sf(t):
    return 1 / (1 + mp.exp(t))


def laplace_sf(t):
    return mp.exp(-t) / 2 if t > 0 else 1 - mp.exp(t) / 2


def student_t3_sf(t):
    upper = mp.acot(t / mp.sqrt(3)) / mp.pi - t * mp.sqrt(3) / (mp.pi * (3 + t * t))
    return upper + 1 if t < 0 else upper


SHAPES = {  # log P of a bin, log P(T > t), and P(T > t) once more
    "normal": (normal_bins.log_normal_bin, normal_bins.log_normal_sf, normal_sf),
    "logistic": (special.log_logistic_bin, special.log_logistic_sf, logistic_sf),
    "laplace": (special.log_laplace_bin, special.log_laplace_sf, laplace_sf),
    "student_t3": (special.log_student_t3_bin, special.log_student_t3_sf, student_t3_sf),
}


def beta_bin_reference(a, b, level, levels):
    """log P of a bin by tanh-sinh quadrature at 40 digits, split about the mode; y^a removed at 0."""
    a, b = mp.mpf(a), mp.mpf(b)
    low, high = mp.mpf(level) / levels, mp.mpf(level + 1) / levels
    if high == 1:
        a, b, low, high = b, a, 1 - high, 1 - low
    if low == 0 and a < 1.5:
        top, scales = high**a, [(mp.mpf(k) / b) ** a for k in (0.5, 1, 2, 4, 8, 16, 32, 64)]
        cuts = {mp.mpf(0), *(top * k / 8 for k in range(1, 9)), *(s for s in scales if s < top)}
        area = mp.quad(lambda t: (1 - t ** (1 / a)) ** (b - 1) / a, sorted(cuts))
        return mp.log(area / mp.beta(a, b))
    mode, spread = mp.log(a / b), mp.sqrt(1 / a + 1 / b)
    high = mp.log(high / (1 - high))
    low = mp.log(low / (1 - low)) if low else min(mode, high) - 200 / a - 60 * spread
    centre = min(max(mode, low), high)
    slope = abs(a - (a + b) / (1 + mp.exp(-centre)))
    steps = [k / (slope + 1 / spread) for k in (1, 3, 6, 10, 15, 25, 40, 80, 160, 320)]
    cuts = {low, high, centre, *(centre + s for s in steps), *(centre - s for s in steps)}
    area = mp.quad(
        lambda u: mp.exp(-a * mp.log1p(mp.exp(-u)) - b * mp.log1p(mp.exp(u))),
        sorted(c for c in cuts if low <= c <= high),
    )
    return mp.log(area / mp.beta(a, b))


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


def beta_binomial_reference(family, out, level):
    base = family.mass(torch.tensor(out, dtype=torch.float64).view(-1, 1, 1)).base_dist
    a, b, trials = mp.mpf(base.a.item()), mp.mpf(base.b.item()), family.levels - 1
    return mp.binomial(trials, level) * mp.beta(a + level, b + trials - level) / mp.beta(a, b)


def with_given_sigma(family, out, level):
    """The reference of a Normal whose sigma is a buffer."""
    return location_scale_reference("normal", out[0], family.sigma.item(), level, family.levels)


def with_learned_scale(shape):
    """The reference of a family with one learned scale for all pixels."""

    def reference(family, out, level):
        return location_scale_reference(shape, out[0], family.scale.item(), level, family.levels)

    return reference


def with_own_scale(shape):
    """The reference of a family whose decoder gives every pixel its scale."""

    def reference(family, out, level):
        return location_scale_reference(shape, out[0], scale_of(out[1]), level, family.levels)

    return reference


REFERENCES = {  # functions of the family, a pixel's outputs, and the level
    "bernoulli": bernoulli_reference,
    "continuous_bernoulli": continuous_bernoulli_reference,
    "gaussian_fixed_sigma": with_given_sigma,
    "gaussian_shared_sigma": with_learned_scale("normal"),
    "gaussian_image_sigma": with_own_scale("normal"),
    "gaussian_pixel_sigma": with_own_scale("normal"),
    "gaussian_optimal_sigma": with_given_sigma,
    "laplace": with_learned_scale("laplace"),
    "student_t": with_learned_scale("student_t3"),
    "beta": beta_reference,
    "beta_binomial": beta_binomial_reference,
    "categorical": categorical_reference,
    "discretized_logistic": with_own_scale("logistic"),
    "discretized_logistic_mixture": mixture_reference,
}
