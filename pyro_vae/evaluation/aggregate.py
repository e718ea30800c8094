"""The aggregate posterior q(z) = 1/N sum_n q(z|x_n): parts of the rate, distance to the prior.

The posteriors are diagonal Normals, one for each of N images. They are given by `loc` and `scale`,
both (N, latent_dim), scale positive. For `q = vae.encode(x)` these are `q.mean` and `q.stddev`. All
functions raise a ValueError if loc and scale do not describe N posteriors.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

from pyro_vae.evaluation.estimates import UNIDENTIFIED_ROOM, Estimate, estimate
from pyro_vae.evaluation.mmd import MmdTest, permutation_test
from pyro_vae.randomness import seeded

_NUMBERS_AT_ONCE = 2**19  # densities per batch: 4 MB and a few copies, close to the cache
_GRID = 1000


class RateParts(NamedTuple):
    """The parts of the rate: nats per image at beta = 1, as means over the images."""

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
    """Decompose the mean rate into mutual information, total correlation and the components' KLs.

    `mean KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))`

    The three parts are averages of log ratios at draws z ~ q(z|x_n). q(z) is always the mixture of
    all N posteriors, which takes num_samples N^2 latent_dim densities. The rate itself has a closed
    form. The parts share their draws, and their sum differs from the rate by `sampling_gap`. The
    expectation of this gap is 0, and its standard error is that of the draws.

    *Standard errors* are taken over images. They cover the choice of images as well as the draws.
    Another image also moves q(z), but this changes no part to first order, because each part
    averages a log density under the distribution that has this density. The standard errors do not
    cover the bias of a finite number of images.

    *Bias*: the mutual information of N images cannot exceed log N. On average, `mutual_information`
    is therefore smaller than that of all images, and total correlation and KLs take the rest of the
    rate. Within 0.5 nats of `log_images`, `mutual_information` is only a lower bound, and
    `identified` is False. A bias remains further away. Take 8 components and 300 images as an
    example. At 1.1 nats below log N the bias was 1.0 nats. At 2.0 nats below it was 0.4 nats. At
    2.9 nats below it was 0.1 nats.

    `mutual_information_upper` leaves q(z|x_n) itself out of the mixture. On average the two
    estimates lie on either side of the value for all images. Their distance shows how well this
    value is known.

    Args:
        loc, scale: (N, latent_dim).
        num_samples: the number of draws of z per image.
        seed: the seed of the draws.

    Raises:
        ValueError: if num_samples is less than 1, and as at the top of the file.

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
    """Return I, its upper bound, TC and KL_1 ... KL_d of each image, (N, 3 + latent_dim).

    Each entry is a mean over the draws of its image.
    """
    with seeded(seed, loc.device):
        noise = torch.randn(num_samples, *loc.shape, dtype=loc.dtype, device=loc.device)
    z = (loc + scale * noise).flatten(0, 1)
    own = torch.arange(len(loc), device=loc.device).repeat(num_samples)
    rows = max(1, _NUMBERS_AT_ONCE // loc.numel())
    # With each component's densities contiguous in memory, sums over images are 2 times faster.
    posteriors = Normal(loc.T.contiguous(), scale.T.contiguous(), validate_args=False)
    pieces = [_log_ratios(*p, posteriors) for p in zip(z.split(rows), own.split(rows))]
    return torch.cat(pieces).view(num_samples, len(loc), -1).mean(0)


def _log_ratios(z: Tensor, own: Tensor, posteriors: Normal) -> Tensor:
    """Return the terms of each draw, (draws, 3 + latent_dim).

    Args:
        z: (draws, latent_dim).
        own: (draws,), the index of the posterior that each draw comes from.
    """
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
    """Return loc and scale in double precision, since narrow posteriors far from 0 lose digits."""
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
    """The mean (latent_dim,) and the covariance (latent_dim, latent_dim) of q(z).

    Those of the prior are 0 and the identity.
    """

    mean: Tensor
    covariance: Tensor

    @property
    def largest_mean(self) -> float:
        """Return the largest absolute mean of a component."""
        return self.mean.abs().max().item()

    @property
    def smallest_variance(self) -> float:
        return self.covariance.diagonal().min().item()

    @property
    def largest_variance(self) -> float:
        return self.covariance.diagonal().max().item()

    @property
    def largest_correlation(self) -> float:
        """Return the largest absolute correlation of two components."""
        root = self.covariance.diagonal().sqrt()
        return (self.covariance / torch.outer(root, root)).fill_diagonal_(0).abs().max().item()


@torch.no_grad()
def aggregate_moments(loc: Tensor, scale: Tensor) -> Moments:
    """Return the exact mean and covariance of the aggregate posterior of N images.

    `E[z] = mean loc`, `Cov[z] = Cov(loc) + diag(mean scale^2)`, both over the N images.
    """
    loc, scale = _checked(loc, scale)
    centred = loc - loc.mean(0)
    covariance = centred.T @ centred / len(loc) + (scale**2).mean(0).diag()
    return Moments(loc.mean(0), covariance)


@torch.no_grad()
def marginal_distances(loc: Tensor, scale: Tensor) -> Tensor:
    """Return Kolmogorov's distance of each marginal of q(z) to the prior, (latent_dim,).

    `sup_t |1/N sum_n Phi((t - loc_n) / scale_n) - Phi(t)|`, from 0 to 1

    The maximum is taken over the 999 values that cut the prior into 1,000 equal shares. Both
    functions are increasing, so the true supremum is larger by at most 1/1000. This holds for
    posteriors of any width.
    """
    loc, scale = _checked(loc, scale)
    shares = torch.arange(1, _GRID, dtype=loc.dtype, device=loc.device).view(-1, 1, 1) / _GRID
    grid = torch.special.ndtri(shares)
    rows = max(1, _NUMBERS_AT_ONCE // (_GRID * loc.shape[1]))
    pieces = zip(loc.split(rows), scale.split(rows))
    below = sum(torch.special.ndtr((grid - m) / s).sum(1) for m, s in pieces)
    return (below / len(loc) - shares.squeeze(1)).abs().amax(0)


class AgainstPrior(NamedTuple):
    """The differences between the aggregate posterior and N(0, I)."""

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
    """Compare q(z) with the prior by moments, marginals and an MMD test of draws.

    The test draws one z from each of up to `num_samples` images, chosen at random. It compares them
    with as many draws from N(0, I). If the images were drawn independently, these z are independent
    draws from the aggregate posterior of the population, and the p-value is about that population.
    With many draws every model fails the test. The moments and distances show the size of the
    differences, and the p-value shows whether they are real.

    These measures cannot detect collapse. If q(z|x) = p(z) for every x, the decoder learns nothing
    from z, and yet all of them pass. Read them beside the rate.

    Args:
        loc, scale: (N, latent_dim), N >= 2.
        num_samples: the largest number of images to draw from, at least 2.
        seed: the seed of the choice of images, the draws and the permutations.
        num_permutations: the number of permutations of the test.

    Raises:
        ValueError: if num_samples or N is less than 2, and as at the top of the file.

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
        # The random stream continues here. A generator with the same seed would make the
        # permutations from the same bits as the draws.
        test = permutation_test(z, torch.randn_like(z), num_permutations)
    return AgainstPrior(aggregate_moments(loc, scale), marginal_distances(loc, scale), test)
