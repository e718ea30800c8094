"""A trained model in files for other programs: what they compute is what the run computes."""

import builtins
import json

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main


def computed(path, **inputs):
    """What an ONNX file computes, without this package."""
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, inputs)


@pytest.mark.slow
def test_other_programs_compute_what_the_run_computes(kept_runs, tmp_path, capsys):
    from safetensors import safe_open
    from safetensors.torch import load_file

    source = kept_runs.trained()
    run = pv.load_run(source)
    assert main(["export", str(source), "--out", str(tmp_path / "e")]) == 0
    assert "weights.safetensors, encoder.onnx, decoder.onnx in" in capsys.readouterr().out
    torch.manual_seed(0)
    images, codes = torch.rand(5, 1, 8, 8), torch.randn(3, 2)  # other numbers than were traced
    with torch.no_grad():
        q, expected = run.vae.encode(images), run.vae.images(codes)
    mean, scale = computed(tmp_path / "e/encoder.onnx", images=images.numpy())
    (decoded,) = computed(tmp_path / "e/decoder.onnx", codes=codes.numpy())
    for found, known in ((mean, q.mean), (scale, q.stddev), (decoded, expected)):
        assert np.allclose(found, known.numpy(), rtol=1e-5, atol=1e-6)
    with safe_open(tmp_path / "e/weights.safetensors", "pt") as file:
        about = file.metadata()
    weights = load_file(tmp_path / "e/weights.safetensors")
    assert weights.keys() == run.vae.state_dict().keys()
    assert all(torch.equal(weights[name], w) for name, w in run.vae.state_dict().items())
    settings = json.loads(about["settings"])
    assert (settings["latent_dim"], settings["levels"], "data_dir" in settings) == (2, 17, False)
    assert json.loads(about["image_shape"]) == [1, 8, 8]
    assert main(["export", str(source), "--out", str(tmp_path / "e")]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.slow
def test_what_cannot_be_exported_is_said(kept_runs, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="export: a conditional model is not exported"):
        pv.export(pv.load_run(kept_runs.trained(conditional=10)), tmp_path / "e")
    flow = pv.load_run(kept_runs.trained(posterior="flow", epochs=1))
    with pytest.raises(ValueError, match="export: what takes images cannot be exported: "):
        pv.export(flow, tmp_path / "e")
    run = pv.load_run(kept_runs.trained())

    def without(name, *arguments, original=builtins.__import__):
        if name == "onnxscript":
            raise ImportError("no module", name=name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"export: onnxscript is missing; pip install"):
        pv.export(run, tmp_path / "e")
    assert not (tmp_path / "e").exists()
