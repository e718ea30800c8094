"""Compiled steps, and the short way to them."""

import pytest
import torch

from pyro_vae.compiling import compiler
from pyro_vae.compiling.compiler import compile_step, of_its_own


def counted(monkeypatch):
    """How often Dynamo is asked."""
    asked = []
    compile = torch.compile

    def compiled(step, **options):
        traced = compile(step, **options)
        return lambda *args: asked.append(1) or traced(*args)

    monkeypatch.setattr(torch, "compile", compiled)
    return asked


def step(learned, scale, rows, noise):
    """Changes what was learned in place, and returns a number of before."""
    before = learned[0].sum() + noise[0].sum()
    learned[0].add_(scale * rows.sum())
    learned[1].mul_(2)
    return before


@pytest.mark.slow
def test_a_step_goes_through_dynamo_once(monkeypatch):
    """And does the same after that, with other tensors in the same places and in other lists."""
    asked = counted(monkeypatch)
    fast = compile_step(of_its_own(step), torch.device("cpu"))
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
    assert asked == [1]
    assert learned[0][0] != others[0][0]


@pytest.mark.slow
def test_a_step_may_use_tensors_of_its_own():
    """As a captured graph does that holds the nodes of a quadrature."""
    held = torch.nn.Module()
    held.register_buffer("nodes", torch.arange(3.0))

    def fixed(learned, rows):
        learned[0].add_(held.nodes * rows)
        return learned[0].sum()

    fast = compile_step(of_its_own(fixed), torch.device("cpu"))
    learned = [torch.zeros(3)]
    found = [fast(learned, torch.full((3,), float(n))).item() for n in range(4)]
    assert found == [0, 3, 9, 18]


@pytest.mark.slow
def test_a_step_may_return_nothing_and_leave_an_argument_alone():
    """And a step of another size is compiled for that size, whatever was compiled before it."""

    def quiet(learned, unused, rows):
        learned[0].add_(rows)

    for size in (2, 3):
        fast = compile_step(of_its_own(quiet), torch.device("cpu"))
        learned = [torch.zeros(size)]
        for n in range(3):
            assert fast(learned, torch.tensor(float(n)), torch.ones(size)) is None
        assert learned[0].tolist() == [3] * size


@pytest.mark.parametrize("triton, missing", [(True, None), (False, "no Triton")])
def test_a_gpu_needs_triton(monkeypatch, triton, missing):
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: triton or None)
    assert compiler.missing_compiler("cuda") == missing


@pytest.mark.slow
def test_a_compiled_step_on_a_gpu_is_recorded_once(monkeypatch):
    """Inductor's own graphs, which the environment may ask for, would be inside of ours."""
    said = []
    monkeypatch.setattr(torch, "compile", lambda step, **options: said.append(options))
    compile_step(step, torch.device("cuda", 0))
    assert said[0]["options"]["triton.cudagraphs"] is False
    assert said[0]["dynamic"] is False


@pytest.mark.slow
def test_vector_instructions_are_not_probed(monkeypatch, tmp_path):
    """Inductor would compile a program for each set of them, and run it, where its cache is empty."""
    from torch._inductor import cpu_vec_isa

    probed = []
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(
        cpu_vec_isa.VecISA, "check_build", lambda _, code: probed.append(code) is None
    )
    cpu_vec_isa.valid_vec_isa_list.cache_clear()
    cpu_vec_isa.VecISA._VecISA__bool__impl.cache_clear()
    compile_step(of_its_own(step), torch.device("cpu"))(
        [torch.ones(3), torch.ones(2)], torch.tensor(0.5), torch.ones(3), [torch.zeros(2)]
    )
    assert cpu_vec_isa.valid_vec_isa_list()
    assert cpu_vec_isa.VecISA._avx_code not in probed
