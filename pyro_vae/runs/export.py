"""`export`: a trained model in files that other programs read without this package."""

import json
from collections.abc import Callable
from pathlib import Path

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.files import replace_file
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import one_at_a_time
from pyro_vae.runs.run import Run
from pyro_vae.settings import ModelSettings, by_name

WEIGHTS, ENCODER, DECODER = "weights.safetensors", "encoder.onnx", "decoder.onnx"


class Function(nn.Module):
    """A function of a model's, as a module that can be exported."""

    def __init__(self, model: VAE, function: Callable[[VAE, Tensor], object]):
        super().__init__()
        self.model, self.function = model, function

    def forward(self, x: Tensor) -> object:
        return self.function(self.model, x)


@one_at_a_time()
def export(run: Run, folder: str | Path) -> list[Path]:
    """Write a run's weights for safetensors, and its encoder and decoder for ONNX.

    The encoder takes images (N, C, H, W) in [0, 1] to the means and standard deviations of q(z|x),
    (N, latent_dim) each; that of an autoencoder to the means alone. The decoder takes codes
    (N, latent_dim) to expected images. N is free. The weights are named as in the model's
    `state_dict`, and the settings of the model stand in the file's metadata as JSON.

    Args:
        run: the run, as `load_run` returns it.
        folder: the folder to write to, which is made if it is not there.

    Returns:
        The paths of the three files.

    Raises:
        ValueError: a package is missing; a conditional model, or one with a part that ONNX has no
            operators for, such as a flow.
        OSError: the folder cannot be written.
    """
    try:
        import onnxscript  # noqa: F401
        from safetensors.torch import save
    except ImportError as error:
        raise ValueError(
            f"export: {error.name} is missing; pip install 'pyro_vae[export]'"
        ) from error
    model = run.vae
    if model.embedding is not None:
        raise ValueError("export: a conditional model is not exported; use pyro_vae.load_run")
    weights = {
        name: weight.clone().contiguous().cpu() for name, weight in model.state_dict().items()
    }
    settings = by_name(run.config, ModelSettings) | {"levels": model.likelihood.levels}
    about = {"settings": json.dumps(settings), "image_shape": json.dumps(model.image_shape)}
    example = next(model.parameters())
    images, codes = example.new_zeros(2, *model.image_shape), example.new_zeros(2, model.latent_dim)
    outputs = ["mean", "scale"] if model.has_rate else ["mean"]
    contents = {
        WEIGHTS: save(weights, about),
        ENCODER: _onnx(Function(model, _encoded), images, "images", outputs),
        DECODER: _onnx(Function(model, VAE.images), codes, "codes", ["images"]),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        replace_file(folder / name, content)
    return [folder / name for name in contents]


def _encoded(model: VAE, images: Tensor) -> tuple[Tensor, ...]:
    q = model.encode(images)
    return (q.mean, q.variance.sqrt()) if model.has_rate else (q.mean,)


def _onnx(function: nn.Module, example: Tensor, name: str, outputs: list[str]) -> bytes:
    """Return a function of one tensor as an ONNX model, for any number of rows."""
    from torch.onnx import OnnxExporterError

    try:
        with pyro.validation_enabled(False), torch.no_grad():
            program = torch.onnx.export(
                function.eval(),
                (example,),
                dynamo=True,
                input_names=[name],
                output_names=outputs,
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                verbose=False,
            )
    except OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ValueError(f"export: what takes {name} cannot be exported: {reason}") from error
    return program.model_proto.SerializeToString()
