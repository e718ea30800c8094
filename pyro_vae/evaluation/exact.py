"""Closed forms of the linear Gaussian VAE: its optimum for given data, and its exact posteriors.

Source: Tipping and Bishop, "Probabilistic principal component analysis", 1999.
"""

import math
from typing import NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn.functional import pad

from pyro_vae.devices import in_pieces
from pyro_vae.likelihoods.base import SCALE_FLOOR
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

MOST_EXACT = 2048  # images or pixels, whichever are fewer: exact eigenvectors are cubic in them
OVERSAMPLED, POWER_ITERATIONS = 16, 8


class PrincipalComponents(NamedTuple):
    """The leading eigenvectors of the covariance of images with D pixels, which is divided by N."""

    mean: Tensor  # (D,)
    variances: Tensor  # (count,), the eigenvalues, largest first
    directions: Tensor  # (D, count), the eigenvectors
    total: float  # the sum of all eigenvalues


def principal_components(images: Tensor, count: int) -> PrincipalComponents:
    """Return the leading principal components of images (N, ...), as many as there are pixels at most.

    They are exact for up to 2,048 images or pixels, whichever are fewer. Beyond, where exact ones
    would take minutes, they are found by power iterations in a random subspace.

    Source: Halko, Martinsson and Tropp, "Finding structure with randomness", 2011,
    https://arxiv.org/abs/0909.4061.
    """
    x = images.flatten(1).to(torch.float64, copy=True)  # changed in place: it may be large
    mean, count = x.mean(0), min(count, x.shape[1])
    x.sub_(mean).div_(math.sqrt(len(x)))
    if min(x.shape) > MOST_EXACT:
        with seeded(0, x.device):
            _, scales, directions = torch.svd_lowrank(x, count + OVERSAMPLED, POWER_ITERATIONS)
        variances = scales.square()
    else:
        wide = len(x) < x.shape[1]
        variances, directions = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
        variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)
        if wide:  # with zeros for components that so few images cannot have
            directions = x.T @ directions / variances.sqrt().clamp_min(1e-12)
            missing = max(0, count - len(x))
            variances, directions = pad(variances, (0, missing)), pad(directions, (0, missing))
    total = sum(part.square().sum().item() for part in in_pieces(x))
    return PrincipalComponents(mean, variances[:count], directions[:, :count], total)


class LinearOptimum(NamedTuple):
    """The best linear VAE of a data set: nats per image at beta = 1, as means over the images."""

    rates: Tensor  # (latent_dim,), of the components, largest first; 0 if inactive
    distortion: float
    sigma: float

    @property
    def rate(self) -> float:
        return self.rates.sum().item()

    @property
    def elbo(self) -> float:
        return -(self.rate + self.distortion)

    @property
    def active(self) -> int:
        """Return the number of components that carry information."""
        return int((self.rates > 0).sum())


def linear_optimum(
    images: Tensor,
    latent_dim: int,
    beta: float = 1.0,
    sigma: float | None = None,
    floor: float = SCALE_FLOOR,
) -> LinearOptimum:
    """Return the minimum of distortion + beta * rate over linear encoders and decoders.

    The likelihood is Normal. The eigenvalues of the images' covariance (divided by N) are l_i.
    Component i is active where l_i > beta sigma^2. Its rate is then 1/2 log(l_i / (beta sigma^2)),
    and its squared error is beta sigma^2 instead of l_i. A learned sigma^2 is
    `(sum of the inactive l_i) / (D - beta k)` for k active components. At beta = 1 the ELBO is the
    maximum of the likelihood under probabilistic PCA.

    Args:
        images: (N, ...), flattened to D pixels.
        latent_dim: the number of latent components.
        sigma: a fixed sigma (default: one sigma that is learned and shared).
        floor: the smallest sigma that can be learned.

    Raises:
        ValueError: if beta is not positive.

    Source: Lucas, Tucker, Grosse and Norouzi, "Don't blame the ELBO!", 2019,
    https://arxiv.org/abs/1911.02469.

    Example:
        >>> from pyro_vae import load_dataset
        >>> digits = load_dataset("digits")
        >>> everything = torch.cat([digits.train.images, digits.test.images])
        >>> round(linear_optimum(everything, latent_dim=8).elbo, 4)
        14.2098
    """
    if beta <= 0:
        raise ValueError(f"beta: expected a positive number, got {beta}")
    return _linear_optimum(principal_components(images, latent_dim), beta, sigma, floor)


def _linear_optimum(
    components: PrincipalComponents, beta: float, sigma: float | None, floor: float
) -> LinearOptimum:
    if sigma is not None:
        return _optimum(components, beta, sigma)
    pixels, candidates = len(components.mean), []
    for k in range(min(len(components.variances), pixels - 1) + 1):
        room = pixels - beta * k
        if room > 0:
            left = components.total - components.variances[:k].sum().item()
            learned = max(math.sqrt(max(0, left) / room), floor)
            candidates.append(_optimum(components, beta, learned))
    return min(candidates, key=lambda c: c.distortion + beta * c.rate)


def _optimum(components: PrincipalComponents, beta: float, sigma: float) -> LinearOptimum:
    top, noise = components.variances, beta * sigma**2
    rates = (top / noise).log().clamp_min(0) / 2
    squared_error = components.total - (top - noise).clamp_min(0).sum().item()
    normaliser = len(components.mean) / 2 * math.log(2 * math.pi * sigma**2)
    return LinearOptimum(rates, normaliser + squared_error / (2 * sigma**2), sigma)


@torch.no_grad()
def optimal_linear_vae(images: Tensor, latent_dim: int, levels: int = 256) -> VAE:
    """Return the linear VAE at its optimum, without training; its q is the exact posterior.

    U_i and l_i are the leading eigenvectors and eigenvalues of the images' covariance. The variance
    of the noise, from `linear_optimum`, is s^2. The columns of the decoder's weight are
    `W_i = sqrt(l_i - s^2) U_i`. They are orthogonal, so the posterior is a diagonal Normal with
    means `W_i' (x - mean) / l_i` and scales `s / sqrt(l_i)`. Components with l_i below s^2 are
    idle. This VAE is a control for every diagnostic that tells a right posterior from a wrong one.

    Args:
        images: (N, C, H, W).
        latent_dim: the number of latent components.
        levels: the number of grey levels in the images.

    Raises:
        ValueError: if there are more components than pixels.

    Example:
        >>> from pyro_vae import load_dataset
        >>> images = load_dataset("digits").train.images
        >>> vae = optimal_linear_vae(images, latent_dim=2, levels=17)
        >>> gap = LinearGaussian.of(vae).gap(vae.encode(images).base_dist, images)
        >>> bool(gap.abs().max() < 1e-4)
        True
    """
    components = principal_components(images, latent_dim)
    if latent_dim > len(components.mean):
        raise ValueError(
            f"latent_dim: expected {len(components.mean)} pixels at most, got {latent_dim}"
        )
    sigma = _linear_optimum(components, 1.0, None, SCALE_FLOOR).sigma
    excess = (components.variances - sigma**2).clamp_min(0)
    weight = components.directions * excess.sqrt()
    return linear_vae(weight, components.mean, sigma, images, levels)


@torch.no_grad()
def linear_vae(
    weight: Tensor, mean: Tensor, sigma: float, images: Tensor, levels: int = 256
) -> VAE:
    """Return the VAE that decodes z as `W z + mean`; its q is the exact posterior under its density.

    Args:
        weight: W (D, latent_dim), with orthogonal columns: the posterior is a diagonal Normal then.
        mean: (D,).
        sigma: the sigma of all pixels.
        images: of the shape, the type and the device that the VAE is for.
        levels: the number of grey levels in the images.
    """
    latent_dim, (channels, height, width) = weight.shape[1], images.shape[1:]
    shape = (channels, height, width)
    vae = VAE(shape, latent_dim, "gaussian_fixed_sigma", "linear", levels=levels, sigma=sigma)
    vae = vae.to(images).eval()
    top = weight.square().sum(0) + sigma**2
    gain = weight.T / top.unsqueeze(1)
    encoder, decoder = (
        next(m for m in net.modules() if isinstance(m, nn.Linear))
        for net in (vae.encoder, vae.decoder)
    )
    decoder.weight.copy_(weight)
    decoder.bias.copy_(mean)
    encoder.weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
    encoder.bias.copy_(torch.cat([-gain @ mean, (sigma / top.sqrt()).log()]))
    return vae


class LinearGaussian(NamedTuple):
    """The model x = W z + b + sigma e, z and e standard Normal, for which all answers are known."""

    weight: Tensor  # (D, latent_dim)
    bias: Tensor  # (D,)
    sigma: float

    @classmethod
    def of(cls, vae: VAE) -> "LinearGaussian":
        """Return the model that a VAE with a linear decoder and a single Normal sigma represents.

        Raises:
            ValueError: if the decoder or the likelihood is of another kind.
        """
        layers = [m for m in vae.decoder.modules() if list(m.parameters(recurse=False))]
        noise = vae.decode(vae.prior.mean).base_dist
        plain = vae.likelihood.channels == vae.image_shape[0] and isinstance(noise, Normal)
        if [type(m) for m in layers] != [nn.Linear] or not plain:
            raise ValueError("vae: expected a linear decoder with a Normal likelihood")
        if noise.scale.min() != noise.scale.max():
            raise ValueError("vae: expected one sigma for all pixels")
        (layer,) = (m for m in layers if isinstance(m, nn.Linear))
        weight, bias = layer.weight.detach(), layer.bias.detach()
        return cls(weight, bias, noise.scale.max().item())

    def log_prob(self, images: Tensor) -> Tensor:
        """Return log p(x) of images (N, ...), nats per image (N,)."""
        noise = self.sigma**2 * torch.ones_like(self.bias)
        return dist.LowRankMultivariateNormal(self.bias, self.weight, noise).log_prob(
            images.flatten(1)
        )

    @property
    def precision(self) -> Tensor:
        """Return the precision of every posterior p(z | x), (latent_dim, latent_dim)."""
        identity = torch.eye(self.weight.shape[1]).to(self.weight)
        return identity + self.weight.T @ self.weight / self.sigma**2

    def posterior(self, images: Tensor) -> dist.MultivariateNormal:
        """Return p(z | x) of images (N, ...)."""
        projected = (images.flatten(1) - self.bias) @ self.weight / self.sigma**2
        loc = torch.linalg.solve(self.precision, projected.T).T
        return dist.MultivariateNormal(loc, precision_matrix=self.precision)

    def gap(self, q: dist.Normal, images: Tensor) -> Tensor:
        """Return KL(q(z|x) || p(z|x)) = log p(x) - ELBO, nats (N,).

        Args:
            q: diagonal Normals (N, latent_dim).
            images: (N, ...).
        """
        full = dist.MultivariateNormal(q.loc, scale_tril=torch.diag_embed(q.scale))
        return kl_divergence(full, self.posterior(images))
