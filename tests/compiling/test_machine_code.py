"""Machine code of a function of tensors: what is traced, and what is called."""

import inspect
from contextlib import nullcontext

import pytest
import torch

import pyro_vae as pv
from pyro_vae.compiling import machine_code
from pyro_vae.compiling.compiler import compile_step
from tests.support.programs import images, model

CPU = torch.device("cpu")


def at_the_end(learned, scale, rows, noise):
    """Changes what was learned by copies at its end, and returns a number of before."""
    before = learned[0].sum() + noise[0].sum()
    new = learned[0] + scale * rows.sum(), learned[1] * 2
    for tensor, value in zip(learned, new):
        tensor.copy_(value)
    return before


def on_the_way(learned, scale, rows, noise):
    """Does the same in place, and reads what it has changed."""
    learned[1].mul_(2)
    before = learned[0].sum() + noise[0].sum()
    learned[0].add_(scale * rows.sum())
    learned[0][1:].add_(learned[1] - learned[1])
    return before


@pytest.mark.slow
@pytest.mark.parametrize("step", [at_the_end, on_the_way])
def test_a_step_is_traced_once(step):
    """And does the same after that, with other tensors in the same places and in other lists."""
    traced = []
    fast = compile_step(lambda *args: traced.append(1) or step(*args), CPU)
    learned = [torch.ones(3), torch.ones(2)]
    plain = [t.clone() for t in learned]
    noise, scale = [torch.zeros(2)], torch.tensor(0.5)
    for n in range(4):
        rows = torch.arange(n + 3.0)[:3]
        noise[0].fill_(n)
        assert torch.equal(fast(learned, scale, rows, noise), step(plain, scale, rows, noise))
        assert all(map(torch.equal, learned, plain))
    others, plain = [torch.zeros(3), torch.ones(2)], [torch.zeros(3), torch.ones(2)]
    for factor in (2.0, 3.0):  # another list, and then another tensor beside it
        scale = torch.tensor(factor)
        assert torch.equal(fast(others, scale, rows, noise), step(plain, scale, rows, noise))
        assert all(map(torch.equal, others, plain))
    assert traced == [1]
    assert learned[0][0] != others[0][0]


def test_a_graph_changes_its_inputs_at_its_end():
    """Inductor expects it, also of a step that changes them on its way."""
    args = [torch.ones(3), torch.ones(2)], torch.tensor(0.5), torch.ones(3), [torch.zeros(2)]
    for step in (at_the_end, on_the_way):
        graph, held = machine_code.traced(step, args)
        nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
        changing = [node.target._schema.is_mutable for node in nodes]
        assert changing == sorted(changing) and sum(changing) == 2
        assert held == []


@pytest.mark.parametrize("likelihood", ["bernoulli", "laplace"])
def test_the_step_of_a_vae_is_traced_once(monkeypatch, likelihood):
    """Though torch changes values in place in the cross-entropy and in the gradient of `clamp`."""
    run = pv.fit(model(likelihood), images(), engine="compiled", batch_size=40)
    writes_last, found = machine_code._writes_last, []

    def only_traced(step, device, libraries):
        return lambda *args: machine_code.traced(step, args) and torch.zeros(3)

    monkeypatch.setattr(type(run.engine), "compile", staticmethod(only_traced))
    monkeypatch.setattr(
        machine_code, "_writes_last", lambda graph: found.append(writes_last(graph)) or found[-1]
    )
    next(run)
    assert found == [True] * len(found) and found


def read_again(x, y):
    """Reads a value after it was changed, by itself and by a part of it."""
    value = x + 1
    part = value[1:]
    value.mul_(y)
    return value.sum() + part.sum()


def read_before(x, y):
    """Reads a value before it is changed, and what shares its memory after that."""
    value = x + 1
    before, part = value * 2, value.view(-1)
    value.exp_()
    return before.sum() + part.sum() + y.sum()


def of_two_types(x, y):
    """Changes a value by numbers of more digits, which it does not take over."""
    return (x + 1).mul_(y.double()).add_(1 / 3).sum()


def into_an_empty_one(x, y):
    """As torch's own functions do that know the size of their result."""
    value = torch.empty_like(x).copy_(x).sub_(y)
    return value.exp_().sum() + value.log().sum()


@pytest.mark.parametrize("function", [read_again, read_before, of_two_types, into_an_empty_one])
def test_values_that_are_changed_on_the_way_stay_right(function):
    args = torch.tensor([0.5, 2.0, 3.0]), torch.tensor([1.5, 0.1, 7.0])
    graph, _ = machine_code.traced(function, args)
    (result,) = graph(*args)
    assert torch.equal(result, function(*args)) and result.dtype == function(*args).dtype


def test_a_function_knows_that_it_is_traced():
    """Log probabilities with derivatives of their own then give them in plain operators."""
    known = []
    machine_code.traced(
        lambda x: known.append(torch.compiler.is_compiling()) or x + 1, (torch.ones(1),)
    )
    assert known == [True] and not torch.compiler.is_compiling()


@pytest.mark.slow
def test_a_step_may_use_tensors_of_its_own():
    """As a captured graph does that holds the nodes of a quadrature, also if it learned them."""
    held = torch.nn.Module()
    held.register_buffer("nodes", torch.arange(3.0))
    held.weight = torch.nn.Parameter(torch.ones(3))

    def fixed(learned, rows):
        learned[0].add_(held.nodes * rows * held.weight)
        return learned[0].sum()

    fast, learned = compile_step(fixed, CPU), [torch.zeros(3)]
    found = [fast(learned, torch.full((3,), float(n))) for n in range(4)]
    assert found == [0, 3, 9, 18]
    assert not any(value.requires_grad for value in found)


@pytest.mark.slow
def test_a_step_may_return_nothing_and_leave_an_argument_alone():
    """And a step of another size is compiled for that size, whatever was compiled before it."""

    def quiet(learned, unused, rows):
        learned[0].add_(rows)

    for size in (2, 3):
        fast = compile_step(quiet, CPU)
        learned = [torch.zeros(size)]
        for n in range(3):
            assert fast(learned, torch.tensor(float(n)), torch.ones(size)) is None
        assert learned[0].tolist() == [3] * size


@pytest.mark.slow
@pytest.mark.parametrize("found", [True, False])
def test_the_function_in_cpp_is_called_itself(monkeypatch, found):
    """Where it is not found, torch's wrapper is called, and gives the same."""
    if not found:
        monkeypatch.setattr(inspect, "isbuiltin", lambda _: False)
    in_python, code = [], compile_step(at_the_end, CPU)
    learned, plain = [torch.ones(3), torch.ones(2)], [torch.ones(3), torch.ones(2)]
    rest = torch.tensor(0.5), torch.ones(3), [torch.zeros(2)]
    called_directly = machine_code.called_directly

    def noted(compiled):
        wrapper = compiled.current_callable
        call = called_directly(compiled)
        compiled.current_callable = lambda inputs: in_python.append(1) or wrapper(inputs)
        return call

    monkeypatch.setattr(machine_code, "called_directly", noted)
    for _ in range(2):
        assert torch.equal(code(learned, *rest), at_the_end(plain, *rest))
        assert all(map(torch.equal, learned, plain))
    assert len(in_python) == (0 if found else 2)


@pytest.mark.slow
def test_inductor_traces_a_value_once(monkeypatch):
    """A value is read twice by the next, six times over; the machine code is the same."""
    from torch._inductor.loop_body import LoopBody
    from torch._inductor.utils import run_and_get_code

    def doubling(x):
        for _ in range(6):
            x = x * x + x
        return x

    sizes, plain = [], LoopBody.__init__

    def counted(body, *args, **kwargs):
        plain(body, *args, **kwargs)
        sizes.append(len(body.root_block.graph.nodes))

    def code():
        sizes.clear()
        graph, _ = machine_code.traced(doubling, (torch.ones(64),))
        options = {"force_disable_caches": True}
        _, sources = run_and_get_code(lambda: machine_code.lowered(graph, options))
        return sources, max(sizes)

    monkeypatch.setattr(LoopBody, "__init__", counted)
    once, few = code()
    monkeypatch.setattr(machine_code, "each_value_once", nullcontext)
    again, many = code()
    assert few < 25 and many > 100
    assert once == again
