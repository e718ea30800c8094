"""Adam as the engines need it: as Pyro's optimizer, and as a function of tensors for compiled steps."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyro
import torch
from torch import Tensor

from pyro_vae.settings import TrainingSettings


class Adam(NamedTuple):
    """How Adam makes a step of gradients; the defaults are those of torch and Pyro."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None  # the largest norm of all gradients together

    @property
    def options(self) -> dict[str, object]:
        """Return the arguments of torch's Adam."""
        return {"betas": (self.beta1, self.beta2), "eps": self.epsilon}

    @classmethod
    def of(cls, settings: TrainingSettings) -> "Adam":
        """Return the Adam of a training's settings."""
        betas = settings.adam_beta1, settings.adam_beta2
        return cls(*betas, settings.adam_epsilon, settings.clip_norm)


ADAM = Adam()


class ClippingAdam(pyro.optim.PyroOptim):
    """Pyro's Adam, which first clips all gradients together."""

    def __init__(self, adam: Adam):
        super().__init__(torch.optim.Adam, {"lr": 1e-3} | adam.options)
        self.clip_norm = adam.clip_norm

    def __call__(self, params, *args, **kwargs) -> None:
        if self.clip_norm is not None:
            names = pyro.get_param_store()  # an order, since the norm is rounded
            params = sorted(params, key=lambda p: str(names.param_name(p)))
            torch.nn.utils.clip_grad_norm_(params, self.clip_norm)
        super().__call__(params, *args, **kwargs)


def clipped(gradients: Sequence[Tensor], norm: float | None) -> Sequence[Tensor]:
    """Return gradients whose norm, of all together, is `norm` at most, as `clip_grad_norm_` does."""
    if norm is None:
        return gradients
    norms = torch.stack([torch.linalg.vector_norm(g) for g in gradients])
    factor = (norm / (torch.linalg.vector_norm(norms) + 1e-6)).clamp(max=1.0)
    return [g * factor for g in gradients]


def adam_step(
    p: Tensor,
    m: Tensor,
    v: Tensor,
    g: Tensor,
    step_size: Tensor,
    root_correction: Tensor,
    adam: Adam,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a parameter p and its averages m and v after a step, given the gradient g."""
    m = _normal_or_zero(m.lerp(g, 1 - adam.beta1))
    v = _normal_or_zero((v * adam.beta2).addcmul(g, g, value=1 - adam.beta2))
    return p - step_size * m / (v.sqrt() / root_correction + adam.epsilon), m, v


def _normal_or_zero(average: Tensor) -> Tensor:
    """Return the average with 0 for denormal numbers, which no update can tell from 0.

    The averages of weights without a gradient (pixels that are always black, units that died)
    shrink until they are denormal. They stay so, since 0.9 times the smallest number rounds to
    itself. A CPU computes ten times more slowly with denormal numbers.
    """
    return torch.where(average.abs() < torch.finfo(average.dtype).tiny, 0.0, average)


def adam_scalars(
    counts: np.ndarray, learning_rates: np.ndarray, adam: Adam
) -> tuple[np.ndarray, np.ndarray]:
    """Return the step sizes and the roots of the second bias correction at the count-th steps, (k,).

    They are computed in double precision, since digits would cancel in float32.
    """
    return learning_rates / (1 - adam.beta1**counts), np.sqrt(1 - adam.beta2**counts)
