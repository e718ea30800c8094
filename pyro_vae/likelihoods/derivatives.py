"""Values with derivatives that are given, where autograd's own would be inexact or slow."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Slopes = Callable[[], Iterable[Tensor]]


class _Once(torch.autograd.Function):
    """A value whose derivatives are given; these have none."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value, *slopes_and_given):
        return value.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, gradient):
        half = len(ctx.saved_tensors) // 2
        slopes, given = ctx.saved_tensors[:half], ctx.saved_tensors[half:]
        found = (gradient * _Slope.apply(slope, *given) for slope in slopes)
        return None, *[None] * half, *found


class _Slope(torch.autograd.Function):
    """A slope that refuses to be differentiated by what it depends on."""

    generate_vmap_rule = True

    @staticmethod
    def forward(slope, *given):
        return slope.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("likelihoods: this log probability has no second derivatives")


def with_derivatives(value: Tensor, xs: Sequence[Tensor], slopes: Slopes) -> Tensor:
    """Return the value with the derivatives by each x that `slopes` returns; second ones are refused.

    The slopes are computed only where gradients can be asked for. In a graph that is captured, each
    adds `(x - x) * slope`, where one x is detached; there, second derivatives are zero.
    """
    value = value.detach()
    if not torch.is_grad_enabled():
        return value
    found = [slope.detach() for slope in slopes()]
    if not torch.compiler.is_compiling():
        return _Once.apply(value, *found, *xs)
    for x, slope in zip(xs, found):
        value = value + (x - x.detach()) * slope
    return value


def with_slope(f: Callable[..., Tensor], t: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(t, ...) and its derivative by t, of entries or rows by themselves; 0 under `no_grad`."""
    if not torch.is_grad_enabled():
        return f(t, *others), torch.zeros_like(t)
    with torch.enable_grad():
        t = t.detach().requires_grad_()
        value = f(t, *others)
        (slope,) = torch.autograd.grad(value.sum(), t)
    return value.detach(), slope
