"""Planes of the latent space, on which the page draws the codes of test images as a map."""

import torch
from torch import Tensor

from pyro_vae.evaluation.paths import principal_plane

MOST_PAIRS = 6

Plane = dict[
    str, object
]  # its `name`, two orthonormal `axes` of latent_dim numbers, and its `words`


def planes(codes: Tensor, importance: Tensor) -> list[Plane]:
    """Return the planes to choose from, the most telling one first.

    They are the plane of the first two principal components, where there are more than two latent
    components, and those of pairs of components by falling importance. A latent space of one
    component has a second axis of zeros.

    Args:
        codes: posterior means (N, latent_dim), N >= 2.
        importance: (latent_dim,), in any unit.
    """
    latent_dim = codes.shape[1]
    order = importance.argsort(descending=True, stable=True).tolist()
    if latent_dim == 1:
        return [_plane("component 1", torch.eye(2, 1))]
    pairs = []
    for first in range(0, min(latent_dim - 1, 2 * MOST_PAIRS), 2):
        one, other = sorted(order[first : first + 2])
        axes = torch.eye(latent_dim)[[one, other]]
        pairs.append(_plane(f"components {one + 1} and {other + 1}", axes))
    if latent_dim == 2:
        return pairs
    axes, shares = principal_plane(codes)
    share = f"{shares.sum().item():.0%}"
    words = f"The first two principal components have {share} of the variance of the codes."
    return [_plane("principal components", axes, words), *pairs]


def _plane(name: str, axes: Tensor, words: str = "") -> Plane:
    return {"name": name, "axes": axes.tolist(), "words": words}
