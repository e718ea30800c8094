"""What the latents do together: the aggregate posterior q(z) = 1/N sum_n q(z|x_n).

Posteriors are diagonal Normals, one for each of N images, given by `loc` and `scale`, both
(N, latent_dim); `q = vae.encode(x)` has them as `q.mean` and `q.stddev`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.evaluation.mmd import MmdTest, permutation_test
from pyro_vae.evaluation.thresholds import UNIDENTIFIED_ROOM
from pyro_vae.randomness import seeded

_NUMBERS_AT_ONCE = 2**19  # densities held at a time: 4 MB and a few copies, near a cache
_GRID = 1000


class RateParts(NamedTuple):
    """Where the rate goes: nats per image at beta = 1, means over the images."""

    rate: Estimate
    mutual_information: Estimate
    mutual_information_upper: Estimate
    total_correlation: Estimate
    dimension_wise_kl: Estimate
    dimension_wise_kl_per_component: tuple[Estimate, ...]
    sampling_gap: Estimate
    log_images: float
    identified: bool


@torch.no_grad()
def decompose_rate(loc: Tensor, scale: Tensor, num_samples: int = 1, seed: int = 0) -> RateParts:
    """The mean rate as mutual information, total correlation and the components' own KLs.

    `mean KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))`,
    averages of log ratios at draws z ~ q(z|x_n), where q(z) is the mixture of all N posteriors and
    nothing less: num_samples N^2 latent_dim densities. The rate is a closed form. The other parts
    share their draws; their sum misses it by `sampling_gap`, whose expectation is 0 and whose
    standard error is that of the draws.

    *Standard errors* are over images, and cover both their choice and the draws: another image also
    moves q(z), but that changes no part to first order, since each averages a log density under
    the distribution which has it. They do not cover the bias that N images bring:

    *The bound*: N images tell at most log N apart, so `mutual_information` falls short of that of
    all images (on average), and total correlation and KLs take the rate that it leaves. Within
    0.5 nats of `log_images` it is a lower bound and no more: `identified` is False. Further away
    a bias remains (8 components, 300 images: 1.0 nats at 1.1 below log N, 0.4 at 2.0, 0.1 at 2.9).
    `mutual_information_upper` leaves q(z|x_n) itself out of the mixture: on average the two lie on
    either side of the value for all images, and how far apart says how well it is known.

    Args:
        loc, scale: (N, latent_dim), scale positive.
        num_samples: draws of z per image.
        seed: of the draws.

    Raises:
        ValueError: loc and scale are no N posteriors; num_samples under 1.

    Source: Hoffman and Johnson, "ELBO surgery", 2016,
    http://approximateinference.org/accepted/HoffmanJohnson2016.pdf; Chen, Li, Grosse and Duvenaud,
    "Isolating sources of disentanglement in variational autoencoders", 2018,
    https://arxiv.org/abs/1802.04942; for the two bounds Poole, Ozair, van den Oord, Alemi and
    Tucker, "On variational bounds of mutual information", 2019, https://arxiv.org/abs/1905.06922.

    Example:
        >>> far_apart = torch.tensor([[-1.0], [1.0]])
        >>> parts = decompose_rate(far_apart, torch.full((2, 1), 0.01))
        >>> round(parts.mutual_information.mean, 4), round(parts.log_images, 4), parts.identified
        (0.6931, 0.6931, False)
    """
    loc, scale = _checked(loc, scale)
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1, got {num_samples}")
    terms = _rate_terms(loc, scale, num_samples, seed)
    rate = 0.5 * (loc**2 + scale**2 - 1 - 2 * scale.log()).sum(-1)
    information, upper, correlation, kls = *terms[:, :3].T, terms[:, 3:]
    log_images = math.log(len(loc))
    return RateParts(
        rate=estimate(rate),
        mutual_information=estimate(information),
        mutual_information_upper=estimate(upper),
        total_correlation=estimate(correlation),
        dimension_wise_kl=estimate(kls.sum(-1)),
        dimension_wise_kl_per_component=tuple(estimate(kl) for kl in kls.T),
        sampling_gap=estimate(information + correlation + kls.sum(-1) - rate),
        log_images=log_images,
        identified=log_images - information.mean().item() >= UNIDENTIFIED_ROOM,
    )


def _rate_terms(loc: Tensor, scale: Tensor, num_samples: int, seed: int) -> Tensor:
    """Of each image, over its draws: I, I's upper bound, TC, KL_1 ... KL_d; (N, 3 + latent_dim)."""
    with seeded(seed, loc.device):
        noise = torch.randn(num_samples, *loc.shape, dtype=loc.dtype, device=loc.device)
    z = (loc + scale * noise).flatten(0, 1)
    own = torch.arange(len(loc), device=loc.device).repeat(num_samples)
    rows = max(1, _NUMBERS_AT_ONCE // loc.numel())
    # one component's densities lie next to one another: sums over images are then 2 times faster
    posteriors = Normal(loc.T.contiguous(), scale.T.contiguous(), validate_args=False)
    pieces = [_log_ratios(*p, posteriors) for p in zip(z.split(rows), own.split(rows))]
    return torch.cat(pieces).view(num_samples, len(loc), -1).mean(0)


def _log_ratios(z: Tensor, own: Tensor, posteriors: Normal) -> Tensor:
    """At draws z (draws, latent_dim), each from the posterior with the index in `own` (draws,)."""
    per_component = posteriors.log_prob(z.unsqueeze(2))  # (draws, latent_dim, N)
    per_image, own = per_component.sum(1), own.unsqueeze(1)
    num_images = per_image.shape[1]
    posterior = per_image.gather(1, own).squeeze(1)
    aggregate = per_image.logsumexp(1) - math.log(num_images)
    others = per_image.scatter(1, own, -math.inf).logsumexp(1) - math.log(max(num_images - 1, 1))
    marginals = per_component.logsumexp(2) - math.log(num_images)
    prior = -0.5 * (z**2 + math.log(2 * math.pi))
    columns = [posterior - aggregate, posterior - others, aggregate - marginals.sum(-1)]
    return torch.cat([torch.stack(columns, 1), marginals - prior], 1)


def _checked(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """In double precision, since narrow posteriors far from 0 lose digits."""
    if loc.ndim != 2 or not loc.numel():
        raise ValueError(f"loc: expected (N, latent_dim), got shape {tuple(loc.shape)}")
    if scale.shape != loc.shape:
        expected, got = tuple(loc.shape), tuple(scale.shape)
        raise ValueError(f"scale: expected the shape of loc, {expected}, got {got}")
    if not (scale > 0).all():
        raise ValueError(f"scale: expected positive numbers, got a least of {scale.min():g}")
    if not (loc.isfinite().all() and scale.isfinite().all()):
        raise ValueError("loc: expected finite numbers, got nan or inf in loc or scale")
    return loc.double(), scale.double()


class Moments(NamedTuple):
    """Mean (latent_dim,) and covariance (latent_dim, latent_dim) of q(z); the prior's are 0 and I."""

    mean: Tensor
    covariance: Tensor

    @property
    def largest_mean(self) -> float:
        """In absolute value, as is the largest correlation."""
        return self.mean.abs().max().item()

    @property
    def smallest_variance(self) -> float:
        return self.covariance.diagonal().min().item()

    @property
    def largest_variance(self) -> float:
        return self.covariance.diagonal().max().item()

    @property
    def largest_correlation(self) -> float:
        root = self.covariance.diagonal().sqrt()
        return (self.covariance / torch.outer(root, root)).fill_diagonal_(0).abs().max().item()


@torch.no_grad()
def aggregate_moments(loc: Tensor, scale: Tensor) -> Moments:
    """Mean and covariance of the aggregate posterior of these N images, exactly.

    `E[z] = mean loc`, `Cov[z] = Cov(loc) + diag(mean scale^2)`, both over the N images.

    Args:
        loc, scale: (N, latent_dim), scale positive.

    Raises:
        ValueError: loc and scale are no N posteriors.
    """
    loc, scale = _checked(loc, scale)
    centred = loc - loc.mean(0)
    covariance = centred.T @ centred / len(loc) + (scale**2).mean(0).diag()
    return Moments(loc.mean(0), covariance)


@torch.no_grad()
def marginal_distances(loc: Tensor, scale: Tensor) -> Tensor:
    """How far the marginals of q(z) are from the prior's: Kolmogorov's distance, (latent_dim,).

    `sup_t |1/N sum_n Phi((t - loc_n) / scale_n) - Phi(t)|`, from 0 to 1, at the 999 values that cut
    the prior into 1,000 equal shares. Both functions only rise, so between two such values the
    difference can exceed those at its ends by 1/1000 at most, however narrow the posteriors are.

    Args:
        loc, scale: (N, latent_dim), scale positive.

    Raises:
        ValueError: loc and scale are no N posteriors.
    """
    loc, scale = _checked(loc, scale)
    shares = torch.arange(1, _GRID, dtype=loc.dtype, device=loc.device).view(-1, 1, 1) / _GRID
    grid = torch.special.ndtri(shares)
    rows = max(1, _NUMBERS_AT_ONCE // (_GRID * loc.shape[1]))
    pieces = zip(loc.split(rows), scale.split(rows))
    below = sum(torch.special.ndtr((grid - m) / s).sum(1) for m, s in pieces)
    return (below / len(loc) - shares.squeeze(1)).abs().amax(0)


class AgainstPrior(NamedTuple):
    """How the aggregate posterior differs from N(0, I)."""

    moments: Moments
    marginal_distances: Tensor
    mmd: MmdTest


@torch.no_grad()
def aggregate_against_prior(
    loc: Tensor,
    scale: Tensor,
    num_samples: int = 1000,
    seed: int = 0,
    num_permutations: int = 500,
) -> AgainstPrior:
    """Whether q(z) looks like the prior: moments, marginals, and an MMD test of draws.

    The test sets one z from each of up to `num_samples` images, chosen at random, against as many
    draws from N(0, I). For images drawn independently these z are independent draws from the
    aggregate posterior of the population, so that the p-value is about that population. With many
    draws any model fails it: read the size of moments and distances, the p-value for their reality.

    What these cannot see: collapse. With q(z|x) = p(z) for every x the decoder learns nothing from
    z, and all of them pass. Read them beside the rate.

    Args:
        loc, scale: (N, latent_dim), N >= 2, scale positive.
        num_samples: images to draw for at most, at least 2.
        seed: of images, draws and permutations.
        num_permutations: of the test.

    Raises:
        ValueError: loc and scale are no N posteriors; num_samples or N under 2.

    Source: Rosca, Lakshminarayanan and Mohamed, "Distribution matching in variational inference",
    2018, https://arxiv.org/abs/1802.06847.
    """
    loc, scale = _checked(loc, scale)
    if min(num_samples, len(loc)) < 2:
        got = f"{num_samples} and {len(loc)}"
        raise ValueError(f"num_samples, N: expected at least 2 of each, got {got}")
    with seeded(seed, loc.device):
        chosen = torch.randperm(len(loc), device=loc.device)[:num_samples]
        z = torch.normal(loc[chosen], scale[chosen])
        # the same stream goes on: a generator seeded alike would shuffle by the draws' own bits
        test = permutation_test(z, torch.randn_like(z), num_permutations)
    return AgainstPrior(aggregate_moments(loc, scale), marginal_distances(loc, scale), test)
