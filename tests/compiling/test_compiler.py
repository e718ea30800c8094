"""Inductor: which options it gets, and what it needs."""

import pytest
import torch

from pyro_vae.compiling import compiler
from pyro_vae.compiling.compiler import compile_step


@pytest.mark.parametrize("triton, missing", [(True, None), (False, "no Triton")])
def test_a_gpu_needs_triton(monkeypatch, triton, missing):
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: triton or None)
    assert compiler.missing_compiler("cuda") == missing


@pytest.mark.slow
def test_a_compiled_step_on_a_gpu_is_recorded_once(monkeypatch):
    """Inductor's own graphs, which the environment may ask for, would be inside of ours.

    Each step has a code object of its own: Dynamo compiles eight of one, and then no more.
    """
    said = []
    monkeypatch.setattr(torch, "compile", lambda step, **options: said.append((step, options)))
    for _ in range(2):
        compile_step(lambda x: x + 1, torch.device("cuda", 0))
    assert all(options["options"]["triton.cudagraphs"] is False for _, options in said)
    assert all(options["dynamic"] is False for _, options in said)
    assert len({id(step.__code__) for step, _ in said}) == 2


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
    compile_step(lambda x: x + 1, torch.device("cpu"))(torch.ones(3))
    assert cpu_vec_isa.valid_vec_isa_list()
    assert cpu_vec_isa.VecISA._avx_code not in probed
