"""Captured programs: Pyro's handlers run once, and a graph of tensor operations remains.

`torch.export` runs the model and the guide once and keeps the tensor operations that they perform.
Their random draws become inputs of the graph, so that its caller supplies the noise.
"""

import operator
from collections.abc import Sequence
from typing import NamedTuple

import pyro
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule, Node

from pyro_vae.training.objectives import Loss

aten = torch.ops.aten
WITH_GRAD_SET = torch.ops.higher_order.wrap_with_set_grad_enabled
METADATA = aten._assert_tensor_metadata.default
STANDARD = {
    aten.normal_functional.default: "normal_",
    aten.randn.default: "normal_",
    aten.randn_like.default: "normal_",
    aten.rand.default: "uniform_",
    aten.rand_like.default: "uniform_",
}


class Draw(NamedTuple):
    """A tensor of independent standard noise, filled by `normal_`, or by `uniform_` on [0, 1)."""

    fill: str
    shape: torch.Size
    dtype: torch.dtype


class Captured(NamedTuple):
    """The loss as one graph from parameters, buffers, x, beta, labels, noise to `Terms` as (3,)."""

    graph: GraphModule
    inputs: list[tuple[InputKind, str]]  # all before the noise, with their names in the model
    noise: list[Draw]

    def names(self, kind: InputKind) -> list[str]:
        """Return the names that the inputs of a kind have in the model."""
        return [name for k, name in self.inputs if k == kind]

    def shapes(self, kind: InputKind) -> list[torch.Size]:
        """Return the shapes of the inputs of a kind."""
        nodes = zip(self.graph.graph.find_nodes(op="placeholder"), self.inputs)
        return [node.meta["val"].shape for node, (k, _) in nodes if k == kind]

    def __call__(
        self,
        parameters: list[Tensor],
        buffers: list[Tensor],
        x: Tensor,
        beta: Tensor,
        noise: Sequence[Tensor],
        labels: Tensor | None = None,
    ) -> Tensor:
        given = {
            InputKind.PARAMETER: iter(parameters),
            InputKind.BUFFER: iter(buffers),
            InputKind.USER_INPUT: iter((x, beta, labels)),
        }
        return self.graph(*(next(given[kind]) for kind, _ in self.inputs), *noise)[0]


class _Terms(nn.Module):
    def __init__(self, loss: Loss):
        super().__init__()
        self.model, self.loss = loss.model, loss

    def forward(self, x: Tensor, beta: Tensor, labels: Tensor | None = None) -> Tensor:
        takes_beta = self.loss.objective.any_beta  # the others would refuse a tensor
        return torch.stack(self.loss.terms(x, beta if takes_beta else 1.0, labels))


def capture(loss: Loss, x: Tensor, labels: Tensor | None = None) -> Captured:
    """Return the terms of a loss on minibatches like x (B, C, H, W), as a graph.

    Args:
        labels: (B,), of a conditional model.

    Raises:
        ValueError: programs that cannot become one graph. They change a buffer, and the graph
            would not repeat the change; they draw noise that is not standard Normal or uniform;
            or their control flow depends on values.
    """
    beta = torch.ones((), dtype=x.dtype, device=x.device)
    example = (x, beta) if labels is None else (x, beta, labels)
    with pyro.validation_enabled(False):
        try:
            program = torch.export.export(_Terms(loss), example, strict=False)
            _detach_what_has_no_gradient(program.graph_module)
            program = program.run_decompositions({})
        except Exception as error:  # torch raises many kinds of errors here
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"model: torch cannot export it: {reason}") from error
    changed = program.graph_signature.buffers_to_mutate
    if changed:
        raise ValueError(f"model: changes buffers, {list(changed.values())}")
    return _as_function(program, x.device)


def _detach_what_has_no_gradient(graph: GraphModule) -> None:
    """Detach the results of blocks under `torch.no_grad`, which the decomposition would dissolve.

    A tensor that such a block only broadcasts to the shape that it has is the same tensor to the
    export: outside of the block it stands for the original, which keeps its gradient.
    """
    for block in graph.graph.find_nodes(op="call_function", target=WITH_GRAD_SET):
        enabled, body, *given = block.args
        if enabled:
            continue
        inside = getattr(graph, body.target).graph
        inputs, (returned,) = inside.find_nodes(op="placeholder"), inside.output_node().args
        originals = dict(zip(inputs, given))
        for result in list(block.users):
            original = originals.get(_unbroadcast(returned[result.args[1]]))
            if original is not None:
                result.replace_all_uses_with(original)
                continue
            with graph.graph.inserting_after(result):
                detached = graph.graph.call_function(aten.detach.default, (result,))
            detached.meta = dict(result.meta)
            result.replace_all_uses_with(detached, lambda user, own=detached: user is not own)
    graph.recompile()


def _unbroadcast(node: Node) -> Node:
    """Return the node whose tensor this one is, if it was only broadcast to its own shape."""
    source = node
    if node.target is operator.getitem and node.args[0].target is aten.broadcast_tensors.default:
        source = node.args[0].args[0][node.args[1]]
    elif node.target in (aten.expand.default, aten.view.default, aten.alias.default):
        source = node.args[0]
    same = source is not node and source.meta["val"].shape == node.meta["val"].shape
    return _unbroadcast(source) if same else node


def _as_function(program: ExportedProgram, device: torch.device) -> Captured:
    specs = program.graph_signature.input_specs
    constants = {s.arg.name: s.target for s in specs if s.kind == InputKind.CONSTANT_TENSOR}
    graph = program.graph_module
    for node in graph.graph.find_nodes(op="placeholder"):
        if node.name in constants:
            _embed(graph, node, program.constants[constants[node.name]].to(device))
    for node in graph.graph.find_nodes(op="call_function", target=METADATA):
        graph.graph.erase_node(node)  # checks of the export, by which constants are on the CPU
    names = [s.target.removeprefix("model.") if s.target else "" for s in specs]
    inputs = [(s.kind, n) for s, n in zip(specs, names) if s.arg.name not in constants]
    noise = _draws_as_inputs(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return Captured(graph, inputs, noise)


def _embed(graph: GraphModule, node: Node, value: Tensor) -> None:
    """Make a constant tensor that the programs created a part of the graph."""
    graph.register_buffer(node.name, value)
    with graph.graph.inserting_before(node):
        node.replace_all_uses_with(graph.graph.get_attr(node.name))
    graph.graph.erase_node(node)


def _draws_as_inputs(graph: GraphModule) -> list[Draw]:
    """Turn standard draws into inputs of the graph, after all others, in the order of drawing.

    Other draws raise a ValueError.
    """
    last = list(graph.graph.find_nodes(op="placeholder"))[-1]
    noise = []
    for node in list(graph.graph.nodes):
        if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
            continue
        changed = {"mean", "std"} & set(node.kwargs) or node.args[1:]
        if node.target not in STANDARD or changed:
            raise ValueError(
                f"model: expected standard Normal or uniform draws only, got {node.target}"
            )
        with graph.graph.inserting_after(last):
            last = graph.graph.placeholder(f"noise_{len(noise)}")
        last.meta = dict(node.meta)
        node.replace_all_uses_with(last)
        graph.graph.erase_node(node)
        value = last.meta["val"]
        noise.append(Draw(STANDARD[node.target], value.shape, value.dtype))
    return noise
