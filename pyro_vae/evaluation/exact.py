"""Closed forms: what a linear Gaussian VAE can reach, from the data alone."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.likelihoods import SCALE_FLOOR


class LinearOptimum(NamedTuple):
    """The best linear VAE of a data set: nats per image at beta = 1, means over the images."""

    rates: Tensor  # (latent_dim,), of the components, largest first; 0 where inactive
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
        """How many components carry information."""
        return int((self.rates > 0).sum())


def linear_optimum(
    images: Tensor,
    latent_dim: int,
    beta: float = 1.0,
    sigma: float | None = None,
    floor: float = SCALE_FLOOR,
) -> LinearOptimum:
    """The minimum of distortion + beta * rate over linear encoders and decoders, Normal likelihood.

    With l_i the eigenvalues of the images' covariance (over N), component i is active where
    l_i > beta sigma^2; its rate is then 1/2 log(l_i / (beta sigma^2)) and its squared error
    beta sigma^2, instead of l_i. A learned sigma^2 is (sum of the inactive l_i) / (D - beta k) for
    k active ones. At beta = 1 the ELBO is the likelihood's maximum under probabilistic PCA.

    Args:
        images: (N, ...), flattened to D pixels.
        sigma: fixed, or None for the one that is learned and shared.
        floor: the smallest sigma that can be learned.

    Raises:
        ValueError: beta not positive.

    Source: Tipping and Bishop, "Probabilistic principal component analysis", 1999; Lucas, Tucker,
    Grosse and Norouzi, "Don't blame the ELBO!", 2019, https://arxiv.org/abs/1911.02469.

    Example:
        >>> from pyro_vae import load_dataset
        >>> digits = load_dataset("digits")
        >>> everything = torch.cat([digits.train.images, digits.test.images])
        >>> round(linear_optimum(everything, latent_dim=8).elbo, 4)
        14.2098
    """
    if beta <= 0:
        raise ValueError(f"beta: expected a positive number, got {beta}")
    x = images.flatten(1).double()
    x = x - x.mean(0)
    eigenvalues = torch.linalg.eigvalsh(x.T @ x / len(x)).flip(0).clamp_min(0)
    if sigma is not None:
        return _optimum(eigenvalues, latent_dim, beta, sigma)
    candidates = []
    for k in range(min(latent_dim, len(eigenvalues) - 1) + 1):
        room = len(eigenvalues) - beta * k
        if room > 0:
            learned = max(math.sqrt((eigenvalues[k:].sum() / room).item()), floor)
            candidates.append(_optimum(eigenvalues, latent_dim, beta, learned))
    return min(candidates, key=lambda c: c.distortion + beta * c.rate)


def _optimum(eigenvalues: Tensor, latent_dim: int, beta: float, sigma: float) -> LinearOptimum:
    noise = beta * sigma**2
    top, rest = eigenvalues[:latent_dim], eigenvalues[latent_dim:]
    rates = (top / noise).log().clamp_min(0) / 2
    squared_error = top.clamp_max(noise).sum() + rest.sum()
    normaliser = len(eigenvalues) / 2 * math.log(2 * math.pi * sigma**2)
    return LinearOptimum(rates, normaliser + squared_error.item() / (2 * sigma**2), sigma)
