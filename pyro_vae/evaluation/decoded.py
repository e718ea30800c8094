"""Images that a model decodes: from codes of different kinds, and along paths between codes."""

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vae.models.vae import LatentImageModel
from pyro_vae.names import check_name
from pyro_vae.randomness import seeded

MOST_FITTED = 5000  # training images to whose codes the Normal is fitted
LEAST_VARIANCE = 1e-6  # added to it, so that a component that never varies has a root


@torch.no_grad()
def decoded_sets(
    model: LatentImageModel, images: Tensor, training_images: Tensor, seed: int = 0
) -> dict[str, Tensor]:
    """Return the expected images of four kinds of codes, (N, C, H, W) each, by name.

    - `mean`: reconstructions through the mean of q(z|x).
    - `drawn`: reconstructions through one draw of z.
    - `prior`: images of random codes of N(0, I).
    - `fitted`: images of random codes of a Normal that is fitted to the codes of training images.

    A Normal that is fitted to the codes is the simplest way to make a plain autoencoder generate
    images: its codes were never pulled towards the prior.

    Args:
        model: a VAE or an autoencoder in `eval` mode.
        images: (N, C, H, W), the images that are reconstructed.
        training_images: (M, C, H, W); the Normal is fitted to draws of z of the first 5,000.
        seed: the seed of all draws.
    """
    with seeded(seed, images.device):
        noise = model.prior.sample((len(images),))
        q = model.encode(images)
        known = model.encode(training_images[:MOST_FITTED]).sample()
        codes = {
            "mean": q.mean,
            "drawn": q.sample(),
            "prior": noise,
            "fitted": known.mean(0) + noise @ _root_of_covariance(known).T,
        }
    return {name: model.decode(z).mean.clamp(0, 1) for name, z in codes.items()}


def _root_of_covariance(codes: Tensor) -> Tensor:
    covariance = codes.T.cov().view(codes.shape[1], -1)  # a single component has a number
    identity = torch.eye(codes.shape[1], dtype=codes.dtype, device=codes.device)
    return torch.linalg.cholesky(covariance + LEAST_VARIANCE * identity)


# --- paths ----------------------------------------------------------------------------------------


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
    model: LatentImageModel, start: Tensor, end: Tensor, num_steps: int = 8, path: str = "linear"
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
    model: LatentImageModel, image: Tensor, components: list[int], reach: float = 3.0, num_steps=8
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
