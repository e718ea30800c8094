"""Planes of the latent space, on which the page draws the codes of test images as a map."""

from typing import NamedTuple

import torch
from torch import Tensor

MOST_PAIRS = 6


class Plane(NamedTuple):
    """A plane of the latent space: its name, two orthonormal axes (2, latent_dim), and its words.

    A latent space of one component has a second axis of zeros.
    """

    name: str
    axes: Tensor
    words: str = ""


def planes(codes: Tensor, importance: Tensor) -> list[Plane]:
    """Return the planes to choose from, the most telling one first.

    They are the plane of the first two principal components, where there are more than two latent
    components, and those of pairs of components by falling importance.

    Args:
        codes: posterior means (N, latent_dim), N >= 2.
        importance: (latent_dim,), in any unit.
    """
    latent_dim = codes.shape[1]
    order = importance.argsort(descending=True, stable=True).tolist()
    if latent_dim == 1:
        return [Plane("component 1", torch.eye(2, 1))]
    firsts = range(0, min(latent_dim - 1, 2 * MOST_PAIRS), 2)
    pairs = [_pair(order[first], order[first + 1], latent_dim) for first in firsts]
    return pairs if latent_dim == 2 else [_principal(codes), *pairs]


def _pair(one: int, other: int, latent_dim: int) -> Plane:
    one, other = sorted((one, other))
    return Plane(f"components {one + 1} and {other + 1}", torch.eye(latent_dim)[[one, other]])


def _principal(codes: Tensor) -> Plane:
    """Return the plane of the largest variance; the largest number of each axis is positive."""
    centred = codes.double() - codes.double().mean(0)
    covariance = centred.T @ centred / len(centred)
    variances, vectors = torch.linalg.eigh(covariance)
    axes = vectors.T.flip(0)[:2]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    total = variances.sum().clamp_min(torch.finfo(variances.dtype).tiny)  # 0 for codes all alike
    share = (variances[-2:].sum() / total).item()
    words = f"The first two principal components have {share:.0%} of the variance of the codes."
    return Plane("principal components", axes * largest.sign(), words)
