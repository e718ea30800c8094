"""A function of tensors as machine code: traced, compiled by inductor, and called without detours.

`torch.compile` would trace it by Python's bytecode, prepare for guards and for gradients of it, and
stand between every call and the machine code.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

COPY = torch.ops.aten.copy_.default

Call = Callable[[list[Tensor]], Sequence[Tensor]]


class MachineCode:
    """A function that is traced and compiled at its first call, for the sizes and types of that call.

    Arguments that are those of the call before, such as what a model has learned, cost nothing.

    Args:
        function: from tensors, and lists and tuples of them, to a tensor or None. The tensors are on
            the CPU and need no gradients; it may change them in place.
        options: of inductor.
    """

    def __init__(self, function: Callable, options: dict):
        self.function, self.options = function, options
        self.args: tuple = ()
        self.places: list[int] = []  # of each argument's first tensor among the inputs
        self.code: Call | None = None

    def __call__(self, *args):
        if self.code is None:
            self.code = self._compiled(args)
        for place, arg, before in zip(self.places, args, self.args):
            if arg is before:
                continue
            if not isinstance(arg, Tensor):
                self.inputs = [*tree_leaves(args), *self.held]
                break
            self.inputs[place] = arg
        self.args = args
        results = self.code(self.inputs)
        return results[0] if results else None

    def _compiled(self, args: tuple) -> Call:
        graph, self.held = traced(self.function, args)
        self.inputs, self.args = [*tree_leaves(args), *self.held], args
        sizes = [len(tree_leaves(arg)) for arg in args]
        self.places = [sum(sizes[:n]) for n in range(len(args))]
        return called_directly(lowered(graph, self.options))


def traced(function: Callable, args: tuple) -> tuple[GraphModule, list[Tensor]]:
    """Return a function as one graph of inductor's operators, and the tensors that it holds itself.

    The graph takes the tensors of the arguments in their order and then those that are held, and
    gives a tuple. What the function changes in place is changed at the graph's end.
    """
    from torch._export.utils import _compiling_state_context as is_compiling
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    tensors, structure = tree_flatten(args)

    def flat(*tensors):
        return tuple(tree_leaves(function(*tree_unflatten(tensors, structure))))

    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    fakes = [mode.from_tensor(tensor, static_shapes=True) for tensor in tensors]
    with is_compiling(), mode, torch.no_grad():
        graph = make_fx(flat, select_decomp_table())(*fakes)
        _make_new_values(graph)
        if not _writes_last(graph):
            graph = make_fx(torch.func.functionalize(graph))(*fakes)
    held = _held_as_inputs(graph, mode.from_tensor)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph, held


def _make_new_values(graph: GraphModule) -> None:
    """Let operators make new values where they change values of the graph that nobody reads again.

    Some of torch's gradients are such, and its cross-entropy. Otherwise there is a second trace.
    """
    new: set[Node] = set()
    for node in graph.graph.nodes:
        if _changes(node) and node.args[0] in new and node.args[0].users.keys() - {node} <= new:
            packet = getattr(torch.ops.aten, node.target.overloadpacket.__name__.rstrip("_"), None)
            types = {given.meta["val"].dtype for given in node.all_input_nodes}
            if len(types) == 1:  # else the new value could have another
                node.target = getattr(packet, node.target._overloadname, node.target)
        if _is_new(node):
            new.add(node)


def _is_new(value: Node) -> bool:
    """Return whether a node's tensor shares its memory with no other."""
    schema = getattr(value.target, "_schema", None)
    return schema is not None and not any(result.alias_info for result in schema.returns)


def _writes_last(graph: GraphModule) -> bool:
    """Return whether what a graph changes is changed at its end, by copies into its inputs."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    first = next((n for n, node in enumerate(nodes) if _changes(node)), len(nodes))
    return all(node.target is COPY and node.args[0].op == "placeholder" for node in nodes[first:])


def _changes(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _held_as_inputs(graph: GraphModule, fake: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Turn the tensors that a graph holds into inputs of it, after all others, and return them."""
    *_, last = graph.graph.find_nodes(op="placeholder")
    held = []
    for node in graph.graph.find_nodes(op="get_attr"):
        held.append(getattr(graph, node.target).detach())
        with graph.graph.inserting_after(last):
            last = graph.graph.placeholder(f"held_{len(held)}")
        last.meta["val"] = fake(held[-1])
        node.replace_all_uses_with(last)
        graph.graph.erase_node(node)
    return held


def lowered(graph: GraphModule, options: dict) -> Any:
    """Return what inductor makes of a graph of its operators."""
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.virtualized import V

    examples = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    mode = examples[0].fake_mode
    with (
        each_value_once(),
        config.patch(options),
        V.set_fake_mode(mode),
        tracing(TracingContext(mode)),
    ):
        return compile_fx_inner(graph, examples, cpp_wrapper=True, is_inference=True)


@contextmanager
def each_value_once() -> Iterator[None]:
    """Let inductor trace a value of a loop once, however many other values are computed from it.

    It traces it for each of them, and so what it is computed from, two to the power of their depth
    in all, to find at last that it is all the same. The machine code does not change.
    """
    from torch._inductor.ir import Pointwise
    from torch._inductor.virtualized import V

    plain = Pointwise.make_loader
    traced: dict[int, tuple] = {}  # by a node's identity: the node, who traces, and by index

    def make_loader(node):
        load = plain(node)

        def load_once(index):
            handler, place = V.get_ops_handler(), tuple(index)
            if id(node) not in traced or traced[id(node)][1] is not handler:
                traced[id(node)] = node, handler, {}
            values = traced[id(node)][2]
            if place not in values:
                values[place] = load(index)
            return values[place]

        return load_once

    with patch.object(Pointwise, "make_loader", make_loader):
        yield


def called_directly(code: Any) -> Call:
    """Return a function from a list of tensors to the results of compiled code, without torch's own.

    Torch's wrapper of a function in C++ looks at every input in Python. It is kept where what it
    wraps is not found, or takes more than the inputs.
    """
    wrapper = code.current_callable
    held = inspect.getclosurevars(wrapper).nonlocals if inspect.isfunction(wrapper) else {}
    of_cpp = held.get("f")
    if not inspect.isbuiltin(of_cpp) or code.constants:
        return lambda inputs: code(list(inputs))
    handles_of = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors
    tensors_of = torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs
    return lambda inputs: tensors_of(of_cpp(handles_of(inputs)))
