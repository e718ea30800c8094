"""The training step as one function: minibatch, noise, loss, gradients and Adam's update.

Inductor compiles it, for one model or for many of the same architecture in one batched step. On a
CPU it is called once per step. On CUDA it is recorded as a graph, which every step replays.
"""

import importlib
import importlib.util
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FunctionType, ModuleType
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.export.graph_signature import InputKind

from pyro_vae.training.capture import Captured, Draw

BETAS, EPSILON = (0.9, 0.999), 1e-8  # as in torch's and Pyro's Adam


class Learned(NamedTuple):
    """The tensors that a step reads and changes, in the graph's order.

    In an ensemble their first dimension is the model. Scalars of a single model have one dimension,
    since torch 2.11 does not write to tensors without dimensions.
    """

    parameters: list[Tensor]
    averages: list[Tensor]  # Adam's averages of gradients
    squares: list[Tensor]
    buffers: list[Tensor]

    def of_one(self) -> "Learned":
        """Return the same tensors of a single model, in the form that a step takes."""
        *columns, buffers = self
        return Learned(*([torch.atleast_1d(t.detach()) for t in c] for c in columns), buffers)

    def write(self, new: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Write what `updated` returned into the tensors, in place."""
        for current, values in zip(zip(*self[:3]), new):
            for tensor, value in zip(current, values):
                tensor.copy_(value)

    def clone(self) -> "Learned":
        """Return a copy, on which a step can be tried."""
        return Learned(*([t.clone() for t in column] for column in self))


Step = Callable[[Learned, Tensor, Tensor, Tensor, list[Tensor]], Tensor]
Gradients = Callable[
    [Learned, Tensor, Tensor, Tensor, list[Tensor]], tuple[Sequence[Tensor], Tensor]
]


def loss_gradients(captured: Captured, dynamic: bool) -> Gradients:
    """Return a function from the arguments of a step to the loss's gradients and the terms (3,)."""
    shapes = captured.shapes(InputKind.PARAMETER)

    def gradients(learned, images, rows, scalars, noise):
        x = images.index_select(0, rows)
        if dynamic:
            x, noise = (noise[0] < x).to(x.dtype), noise[1:]

        def loss(parameters):
            shaped = [p.view(shape) for p, shape in zip(parameters, shapes)]
            terms = captured(shaped, learned.buffers, x, scalars[0], noise)
            return terms[0], terms

        values, (_, terms) = torch.func.grad_and_value(loss, has_aux=True)(learned.parameters)
        return values, terms

    return gradients


def training_step(captured: Captured, dynamic: bool, ensemble: bool = False) -> Step:
    """Return a function that updates what was learned in place and gives the terms (3,) before that.

    It takes `Learned`, all images (N, C, H, W), the minibatch's rows (B,), beta with the scalars
    of `adam_scalars` (3,), and the noise. In an ensemble, all of them but the images have the model
    as their first dimension, and so have the terms.
    """
    gradients = loss_gradients(captured, dynamic)

    def update(learned, images, rows, scalars, noise):
        values, terms = gradients(learned, images, rows, scalars, noise)
        return terms, updated(learned, values, scalars)

    if ensemble:
        update = torch.func.vmap(update, in_dims=(0, None, 0, 0, 0))

    def step(learned, images, rows, scalars, noise):
        terms, new = update(learned, images, rows, scalars, noise)
        learned.write(new)
        return terms

    return of_its_own(step)


def of_its_own(function: Callable) -> Callable:
    """Return the function with a new code object, since Dynamo's cache goes by code objects."""
    code = function.__code__.replace(co_name=function.__name__)
    closure = function.__closure__
    return FunctionType(code, function.__globals__, function.__name__, closure=closure)


def updated(
    learned: Learned, gradients: Sequence[Tensor], scalars: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return each parameter and its averages after Adam's step; scalars (3,) are those of a step."""
    _, step_size, root_correction = scalars.unbind()
    adam = partial(_adam, step_size=step_size, root_correction=root_correction)
    return [adam(*each) for each in zip(*learned[:3], gradients)]


def _adam(
    p: Tensor, m: Tensor, v: Tensor, g: Tensor, step_size: Tensor, root_correction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    m = _normal_or_zero(m.lerp(g, 1 - BETAS[0]))
    v = _normal_or_zero((v * BETAS[1]).addcmul(g, g, value=1 - BETAS[1]))
    return p - step_size * m / (v.sqrt() / root_correction + EPSILON), m, v


def _normal_or_zero(average: Tensor) -> Tensor:
    """Return the average with 0 for denormal numbers, which no update can tell from 0.

    The averages of weights without a gradient (pixels that are always black, units that died)
    shrink until they are denormal. They stay so, since 0.9 times the smallest number rounds to
    itself. A CPU computes ten times more slowly with denormal numbers.
    """
    return torch.where(average.abs() < torch.finfo(average.dtype).tiny, 0.0, average)


def adam_scalars(count: int, learning_rate: float) -> tuple[float, float]:
    """Return the step size and the root of the second bias correction at the count-th step.

    They are computed in double precision, since digits would cancel in float32.
    """
    return learning_rate / (1 - BETAS[0] ** count), math.sqrt(1 - BETAS[1] ** count)


def compile_step(step: Callable, device: torch.device) -> Callable:
    """Return the step, which inductor compiles at its first call.

    It has no guards, since a step is only called with tensors of one shape, type and device. All
    its sizes are numbers: Dynamo would make symbols of those that differ from the model before.
    """
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return step  # the CUDA graph replays it uncompiled
    products = _import_products()
    options = {"guard_filter_fn": _no_guards}
    if device.type == "cpu":
        options["cpp.min_chunk_size"] = 8192  # numbers that repay the start of a thread
    if device.type == "cpu" and products.ONEDNN:
        options["post_grad_custom_pre_pass"] = products.OneDnnProducts()
    return torch.compile(step, fullgraph=True, dynamic=False, options=options)


def _import_products() -> ModuleType:
    """Import inductor, which takes two seconds, and suppress its message that there is no GPU."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before, logger.disabled = logger.disabled, True
    try:
        importlib.import_module("torch.utils.cpp_extension")
        return importlib.import_module("pyro_vae.training.onednn")
    finally:
        logger.disabled = before


def missing_compiler() -> str | None:
    """Return why inductor cannot compile here, in a few words; None where it can."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"no C++ compiler ({compiler})"


def _no_guards(guards: Sequence) -> list[bool]:
    return [False] * len(guards)


class Noise:
    """Buffers of standard noise, which are filled again in place for every step.

    Args:
        draws: what to draw, in this order.
        generators: one for each model of an ensemble (default: a single model, which draws from
            the generator of the process).
    """

    def __init__(
        self, draws: list[Draw], device: torch.device, generators: Sequence[Generator] | None = None
    ):
        self.generators = generators
        models = () if generators is None else (len(generators),)
        self.tensors = [torch.zeros(*models, *d.shape, dtype=d.dtype, device=device) for d in draws]
        self._fills = [
            partial(getattr(part, draw.fill), generator=generator)
            for draw, tensor in zip(draws, self.tensors)
            for part, generator in zip(*((tensor, generators) if models else ([tensor], [None])))
        ]

    def draw(self) -> None:
        """Fill all buffers with new noise."""
        for fill in self._fills:
            fill()


class Steps:
    """Steps on a CPU, one call each; the constructor compiles.

    Args:
        learned: the tensors that every step changes in place.
        images: all images (N, C, H, W).
        rows, scalars: those of one step, as an example.
    """

    def __init__(
        self,
        step: Step,
        learned: Learned,
        images: Tensor,
        noise: Noise,
        rows: Tensor,
        scalars: Tensor,
    ):
        self.step, self.learned, self.images, self.noise = step, learned, images, noise
        self._warm_up(rows, scalars)

    def _warm_up(self, *each: Tensor) -> None:
        copy = self.learned.clone()  # since a warm-up trains
        self.step(copy, self.images, *each, self.noise.tensors)

    def __call__(self, rows: Tensor, scalars: Tensor) -> Iterator[Tensor]:
        """Take steps and yield their terms in blocks (steps, ..., 3).

        Args:
            rows: the images of each minibatch, (steps, ..., B).
            scalars: beta and the numbers of `adam_scalars`, (steps, ..., 3).
        """
        for each in zip(rows.unbind(), scalars.unbind()):
            self.noise.draw()
            yield self.step(self.learned, self.images, *each, self.noise.tensors)[None]


class ReplayedSteps(Steps):
    """Steps on CUDA, each of which replays one graph, noise included, and waits for nothing.

    The graph finds its minibatch by a counter on the device.
    """

    block = 64  # steps between two checks for a request to stop

    def __init__(self, *arguments):
        super().__init__(*arguments)
        device = self.images.device
        self.graph, self.counter = None, torch.zeros(1, dtype=torch.int64, device=device)

    def _warm_up(self, *each):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                super()._warm_up(*each)
        torch.cuda.current_stream().wait_stream(stream)

    def __call__(self, rows, scalars):
        if self.graph is None or len(rows) > len(self.rows):
            self._record(rows, scalars)
        self.rows[: len(rows)], self.scalars[: len(rows)] = rows, scalars
        self.counter.zero_()
        for start in range(0, len(rows), self.block):
            stop = min(start + self.block, len(rows))
            for _ in range(start, stop):
                self.graph.replay()
            yield self.terms[start:stop].clone()

    def _record(self, rows: Tensor, scalars: Tensor) -> None:
        self.rows, self.scalars = rows.clone(), scalars.clone()
        self.terms, self.graph = torch.zeros_like(scalars), torch.cuda.CUDAGraph()
        for generator in self.noise.generators or ():
            self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph):
            self._replayed()

    def _replayed(self) -> None:
        self.noise.draw()
        each = (tensor.index_select(0, self.counter)[0] for tensor in (self.rows, self.scalars))
        terms = self.step(self.learned, self.images, *each, self.noise.tensors)
        self.terms.index_copy_(0, self.counter, terms[None])
        self.counter.add_(1)
