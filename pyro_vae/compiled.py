"""A training step captured whole: Pyro's handlers are resolved once, and the rest is compiled.

`torch.export` runs model and guide one time and keeps the tensor operations that they amount to.
What it finds of random draws become inputs of that graph, so that whoever runs it decides on the
noise; with the gradient and Adam's update the graph is one function, which inductor compiles.
"""

import math
from collections.abc import Callable
from types import FunctionType
from typing import NamedTuple

import pyro
import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule, Node

from pyro_vae.objectives import Objective
from pyro_vae.vae import LatentImageModel

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of torch's and Pyro's Adam


class Captured(NamedTuple):
    """The loss as one graph: parameters, buffers, x, beta and noise in, `Terms` out as (3,)."""

    graph: GraphModule
    inputs: list[tuple[InputKind, str]]  # those before the noise, with their names in the model
    noise: list[tuple[torch.Size, torch.dtype]]

    def names(self, kind: InputKind) -> list[str]:
        """The model's names of the inputs of a kind."""
        return [name for k, name in self.inputs if k == kind]

    def __call__(
        self, parameters: list[Tensor], buffers: list[Tensor], x: Tensor, beta: Tensor, noise
    ) -> Tensor:
        given = {
            InputKind.PARAMETER: iter(parameters),
            InputKind.BUFFER: iter(buffers),
            InputKind.USER_INPUT: iter((x, beta)),
        }
        return self.graph(*(next(given[kind]) for kind, _ in self.inputs), *noise)[0]


class _Loss(nn.Module):
    def __init__(self, model: LatentImageModel, objective: type[Objective], num_particles: int):
        super().__init__()
        self.model, self.objective, self.num_particles = model, objective, num_particles

    def forward(self, x: Tensor, beta: Tensor) -> Tensor:
        programs = self.model.model, self.model.guide
        beta = beta if self.objective.any_beta else 1.0  # the number, which such a bound insists on
        with self.model.unregistered():
            return torch.stack(self.objective.terms(*programs, x, beta, self.num_particles))


def capture(
    model: LatentImageModel, objective: type[Objective], num_particles: int, x: Tensor
) -> Captured:
    """The objective's terms on minibatches like x (B, C, H, W), as a graph.

    Raises:
        ValueError: a program that changes a buffer, which the graph would do once and for all.
    """
    loss = _Loss(model, objective, num_particles)
    example = (x, torch.ones((), dtype=x.dtype, device=x.device))
    with pyro.validation_enabled(False):
        program = torch.export.export(loss, example, strict=False).run_decompositions({})
    signature = program.graph_signature
    if signature.buffers_to_mutate:
        raise ValueError(f"model: changes buffers, {list(signature.buffers_to_mutate.values())}")
    constants = {s.arg.name for s in signature.input_specs if s.kind == InputKind.CONSTANT_TENSOR}
    graph = program.graph_module
    for node in [n for n in graph.graph.nodes if n.op == "placeholder" and n.name in constants]:
        _embed(graph, node, program.constants, signature)
    inputs = [
        (spec.kind, (spec.target or "").removeprefix("model."))
        for spec in signature.input_specs
        if spec.arg.name not in constants
    ]
    noise = _draws_as_inputs(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return Captured(graph, inputs, noise)


def _embed(graph: GraphModule, node: Node, constants: dict, signature) -> None:
    """A tensor that the programs made by themselves becomes a part of the graph."""
    spec = next(s for s in signature.input_specs if s.arg.name == node.name)
    graph.register_buffer(node.name, constants[spec.target])
    with graph.graph.inserting_before(node):
        node.replace_all_uses_with(graph.graph.get_attr(node.name))
    graph.graph.erase_node(node)


def _draws_as_inputs(graph: GraphModule) -> list[tuple[torch.Size, torch.dtype]]:
    """Standard Normal draws become inputs, after all others, in the order in which they were drawn.

    Raises:
        ValueError: another kind of draw.
    """
    nodes = list(graph.graph.nodes)
    last = [node for node in nodes if node.op == "placeholder"][-1]
    noise = []
    for node in nodes:
        if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
            continue
        standard = not node.args[1:] and set(node.kwargs) <= {"generator"}
        if node.target is not torch.ops.aten.normal_functional.default or not standard:
            raise ValueError(f"model: expected standard Normal draws only, got {node.target}")
        with graph.graph.inserting_after(last):
            last = graph.graph.placeholder(f"noise_{len(noise)}")
        last.meta = dict(node.meta)
        node.replace_all_uses_with(last)
        graph.graph.erase_node(node)
        noise.append((last.meta["val"].shape, last.meta["val"].dtype))
    return noise


Step = Callable[..., Tensor]


def training_step(captured: Captured) -> Step:
    """Loss, gradients and Adam's update as one function, which changes its arguments in place.

    It takes parameters, both of Adam's averages, buffers, x, beta, the noise, and the two
    numbers that `adam_numbers` gives; it returns the terms before the update.
    """

    def step(parameters, averages, squares, buffers, x, beta, noise, step_size, root_correction):
        def loss(parameters):
            terms = captured(parameters, buffers, x, beta, noise)
            return terms[0], terms

        gradients, (_, terms) = torch.func.grad_and_value(loss, has_aux=True)(parameters)
        for p, m, v, g in zip(parameters, averages, squares, gradients):
            m.lerp_(g, 1 - BETAS[0])
            v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            p.sub_(step_size * m / (v.sqrt() / root_correction + EPSILON))
        return terms

    # Dynamo keeps what it compiled by code object, and gives up after eight: each model gets one.
    code = step.__code__.replace(co_name="step")
    return FunctionType(code, step.__globals__, "step", closure=step.__closure__)


def adam_numbers(count: int, learning_rate: float) -> tuple[float, float]:
    """Step size and root of the second correction at the count-th step; float32 would cancel."""
    return learning_rate / (1 - BETAS[0] ** count), math.sqrt(1 - BETAS[1] ** count)


def compile_step(step: Step) -> Step:
    """The step as machine code, by inductor, at its first call."""
    return torch.compile(step, fullgraph=True)
