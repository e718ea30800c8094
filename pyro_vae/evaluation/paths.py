"""Paths through the latent space and the images along them, and the plane where codes vary most."""

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vae.models.vae import VAE
from pyro_vae.names import check_name


def linear(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Return points on the straight line from start at t = 0 to end at t = 1, (N, S, latent_dim).

    Args:
        start, end: (N, latent_dim).
        t: (S,).
    """
    t = t.view(1, -1, 1)
    return start.unsqueeze(1) * (1 - t) + end.unsqueeze(1) * t


def slerp(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Return points on the great circle from start at t = 0 to end at t = 1, (N, S, latent_dim).

    `(sin((1-t) a) start + sin(t a) end) / sin a` for directions at an angle a

    The length changes linearly with t. Normal codes of many components lie close to a sphere, and
    the great circle stays close to it.

    Args:
        start, end: (N, latent_dim).
        t: (S,).

    Source: White, "Sampling generative networks", 2016, https://arxiv.org/abs/1609.04468.
    """
    lengths = [v.norm(dim=-1, keepdim=True).clamp_min(1e-12) for v in (start, end)]
    directions = start / lengths[0], end / lengths[1]
    cosine = (directions[0] * directions[1]).sum(-1).clamp(-1, 1)
    angle = cosine.acos().view(-1, 1, 1).clamp_min(1e-4)  # a smaller arc is a straight line
    t = t.view(1, -1, 1)
    sine = angle.sin().clamp_min(1e-12)
    arc = ((1 - t) * angle).sin() / sine * directions[0].unsqueeze(1)
    arc = arc + (t * angle).sin() / sine * directions[1].unsqueeze(1)
    return arc * linear(lengths[0], lengths[1], t.flatten())


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"linear": linear, "slerp": slerp}


@torch.no_grad()
def interpolate(
    model: VAE, start: Tensor, end: Tensor, num_steps: int = 8, path: str = "linear"
) -> Tensor:
    """Return expected images (N, num_steps, C, H, W) between the mean codes of pairs of images.

    Args:
        start, end: images (N, C, H, W).
        num_steps: the number of images on each path, including both ends.
        path: `linear` or `slerp`.

    Raises:
        ValueError: if the path is unknown.
    """
    along = PATHS[check_name("path", path, PATHS)]
    t = torch.linspace(0, 1, num_steps, dtype=start.dtype, device=start.device)
    return model.decode(along(model.encode(start).mean, model.encode(end).mean, t)).mean.clamp(0, 1)


@torch.no_grad()
def traverse(
    model: VAE, image: Tensor, components: list[int], reach: float = 3.0, num_steps=8
) -> Tensor:
    """Return expected images (len(components), num_steps, C, H, W) as one component of a code varies.

    Args:
        image: (C, H, W). The other components stay at its mean code.
        components: the components to vary, one per row.
        reach: the largest absolute value, in standard deviations of the prior.
        num_steps: the number of images per row.
    """
    code = model.encode(image.unsqueeze(0)).mean[0]
    codes = code.repeat(len(components), num_steps, 1)
    values = torch.linspace(-reach, reach, num_steps, dtype=code.dtype, device=code.device)
    for row, component in enumerate(components):
        codes[row, :, component] = values
    return model.decode(codes).mean.clamp(0, 1)


def principal_plane(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first two principal axes of codes (N, latent_dim), and their shares of the variance.

    The axes are orthonormal, (2, latent_dim); the largest number of each is positive. The shares are
    0 for codes that are all alike.
    """
    centred = codes.double() - codes.double().mean(0)
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    axes = vectors.T.flip(0)[:2]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    total = variances.sum().clamp_min(torch.finfo(variances.dtype).tiny)
    return axes * largest.sign(), variances.flip(0)[:2].clamp_min(0) / total
