"""Ways through the latent space: along one component, and from one image to another."""

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vae.models.vae import LatentImageModel
from pyro_vae.names import check_name


def linear(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """The straight line from start (N, latent_dim) at t = 0 to end at t = 1; t (S,) gives (N, S, ...)."""
    t = t.view(1, -1, 1)
    return start.unsqueeze(1) * (1 - t) + end.unsqueeze(1) * t


def slerp(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """The great circle, whose length goes evenly too: Normal codes of many components lie on shells.

    `(sin((1-t) a) start + sin(t a) end) / sin a` for directions at an angle a.

    Source: White, "Sampling generative networks", 2016, https://arxiv.org/abs/1609.04468.
    """
    lengths = [v.norm(dim=-1, keepdim=True).clamp_min(1e-12) for v in (start, end)]
    directions = start / lengths[0], end / lengths[1]
    cosine = (directions[0] * directions[1]).sum(-1).clamp(-1, 1)
    angle = cosine.acos().view(-1, 1, 1).clamp_min(1e-4)  # below it the arc is a line
    t = t.view(1, -1, 1)
    sine = angle.sin().clamp_min(1e-12)
    arc = ((1 - t) * angle).sin() / sine * directions[0].unsqueeze(1)
    arc = arc + (t * angle).sin() / sine * directions[1].unsqueeze(1)
    return arc * linear(*lengths, t.flatten())


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"linear": linear, "slerp": slerp}


@torch.no_grad()
def interpolate(
    model: LatentImageModel, start: Tensor, end: Tensor, num_steps: int = 8, path: str = "linear"
) -> Tensor:
    """Expected images (N, num_steps, C, H, W) between the mean codes of two images each.

    Args:
        start, end: images (N, C, H, W).
        num_steps: with both ends.
        path: `linear` or `slerp`.

    Raises:
        ValueError: an unknown path.
    """
    along = PATHS[check_name("path", path, PATHS)]
    t = torch.linspace(0, 1, num_steps, dtype=start.dtype, device=start.device)
    return model.decode(along(model.encode(start).mean, model.encode(end).mean, t)).mean.clamp(0, 1)


@torch.no_grad()
def traverse(
    model: LatentImageModel, image: Tensor, components: list[int], reach: float = 3.0, num_steps=8
) -> Tensor:
    """Expected images (len(components), num_steps, C, H, W) as one component of a code goes.

    Args:
        image: (C, H, W), whose mean code the other components stay at.
        components: those to move, a row each.
        reach: from minus to plus so many standard deviations of the prior.
    """
    code = model.encode(image.unsqueeze(0)).mean[0]
    codes = code.repeat(len(components), num_steps, 1)
    values = torch.linspace(-reach, reach, num_steps, dtype=code.dtype, device=code.device)
    for row, component in enumerate(components):
        codes[row, :, component] = values
    return model.decode(codes).mean.clamp(0, 1)
