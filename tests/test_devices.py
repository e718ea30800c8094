"""Which device computes, how numbers come there, how much it holds, and what is said when it fails."""

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses import FakeTensorMode

import pyro_vae as pv
from pyro_vae.devices import broken, full, numbers_at_once, resolve_device, sent
from pyro_vae.models.elbo import chunks
from pyro_vae.settings import TrainingSettings
from pyro_vae.training.ensembles import stack_size
from pyro_vae.training.step import models_that_fit, step_bytes
from tests.support.programs import images, model

GPU = torch.device("cuda", 0)


@pytest.fixture
def gpu_of_16_gb(monkeypatch):
    """As far as questions go."""
    properties = SimpleNamespace(total_memory=16 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * 2**30, 16 * 2**30))


def test_a_line_says_what_computes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pv.about().startswith(
        f"pyro_vae {pv.__version__}, torch {torch.__version__.partition('+')[0]}"
    )
    assert pv.about().endswith("on a CPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert pv.about().endswith("on NVIDIA H200")


@pytest.mark.parametrize(
    "use",
    [
        lambda device: pv.fit(model(), images(), device=device),
        lambda device: pv.fit_many([model()] * 2, images(), device=device),
        lambda device: pv.Run("a", device=device),
        resolve_device,
    ],
)
def test_a_device_that_cannot_compute_is_refused_by_name(use, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("mps", "gpu", "meta"):
        with pytest.raises(ValueError, match=f"device: expected cpu or cuda, got {name}"):
            use(name)
    with pytest.raises(ValueError, match="device: cuda asked for, but torch finds no CUDA device"):
        use("cuda")


def test_numbers_are_sent_without_waiting():
    """From pinned memory, or else the copy waits for all that the GPU has to do."""
    said = []

    class Rows:
        def pin_memory(self):
            said.append("pinned")
            return self

        def to(self, device, non_blocking=False):
            said.append((device, non_blocking))

    sent(Rows(), GPU)
    sent(Rows(), torch.device("cpu"))
    assert said == ["pinned", (GPU, True), (torch.device("cpu"), False)]


def test_ten_thousand_test_images_are_scored_in_a_few_batches(gpu_of_16_gb):
    """121 of them on a CPU, whose caches are small."""
    assert len(list(chunks(torch.empty(10_000, 1, 28, 28)))) == 121
    with FakeTensorMode():
        images = torch.empty(10_000, 1, 28, 28, device=GPU)
        assert len(list(chunks(images, numbers_per_pixel=8))) == 1
        heavy = list(chunks(images, numbers_per_pixel=768))
        assert len(heavy) == 23
        assert len(heavy[0]) * 28 * 28 * 768 <= numbers_at_once(GPU) == 2**28


def test_a_stack_holds_what_the_gpu_does(gpu_of_16_gb):
    """And no more than 1,024 models, or 64 with convolutions."""
    vae, settings = model(), TrainingSettings(batch_size=16)
    weights = 4 * sum(p.numel() for p in vae.parameters())
    fit = models_that_fit(vae, settings, GPU)
    assert fit == int(0.8 * 10 * 2**30) // (8 * weights + step_bytes(vae, settings))
    assert stack_size(5000, vae, "cuda", fit=600) == 556  # nine stacks
    assert stack_size(5000, vae, "cuda") == 1000
    assert stack_size(5000, model(network="conv", hidden=(4,)), "cuda") == 64


def test_a_gpu_that_fails_is_told_from_a_run_that_does():
    error = broken(torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with"))
    assert isinstance(error, OSError) and "(CUDA error: unspecified launch failure)" in str(error)
    assert "the same command resumes" in str(error)


def test_a_full_gpu_says_what_was_wanted():
    text = "CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacity of 8 GiB. If"
    assert "Tried to allocate 3.00 GiB. GPU 0 has" in str(full(torch.OutOfMemoryError(text)))


def test_auto_is_the_first_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda", 0)
