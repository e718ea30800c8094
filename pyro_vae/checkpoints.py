"""A checkpoint: one dict of tensors and plain values, written whole or not at all."""

import hashlib
import io
import zipfile
from pathlib import Path

import torch
from torch import nn

from pyro_vae.devices import device_bytes
from pyro_vae.files import read_file, replace_file
from pyro_vae.settings import MOST_LEVELS

# What a dict that holds something else than it should raises.
MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def save_checkpoint(path: str | Path, content: dict) -> None:
    """Write `content` to a file; a reader sees the old file or the new one, never a part of it.

    Raises:
        OSError: the file cannot be written; the old file stays.
    """
    buffer = io.BytesIO()
    torch.save(_compact(content), buffer)
    replace_file(path, buffer.getvalue())


def _compact(value):
    """Return the same content with copies of slices, since a slice is saved with its whole storage."""
    if isinstance(value, torch.Tensor):
        own = value.untyped_storage().nbytes() == value.nbytes
        return value if own else value.detach().clone()
    if isinstance(value, dict):
        return {key: _compact(each) for key, each in value.items()}
    return [_compact(each) for each in value] if isinstance(value, list) else value


def load_checkpoint(path: str | Path) -> dict:
    """Return what `save_checkpoint` wrote, on the CPU; no code in the file is run.

    Raises:
        OSError: there is no such file.
        ValueError: a file that is not a checkpoint.
    """
    content = read_file(path, device_bytes(torch.device("cpu")))
    file = io.BytesIO(content)
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > len(content):  # torch compresses nothing
                raise zipfile.BadZipFile
            if archive.testzip():  # checks the checksums, which torch ignores
                raise zipfile.BadZipFile
        file.seek(0)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no common class for what a damaged file raises
        raise ValueError(f"checkpoint: {path} cannot be read: {type(error).__name__}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"checkpoint: {path} holds a {type(loaded).__name__}, not a dict")
    return loaded


def check_fit(content: dict, model: nn.Module) -> None:
    """Check that a checkpoint holds the finite weights of a model, and Adam's averages of each.

    Args:
        content: with the grey levels as `levels`, the weights as `model` and, of a training, `step`,
            `adam` and `random`.
        model: one of the same architecture, on any device, as on `meta`.

    Raises:
        ValueError: it does not; another of `MISFITS` where it holds something else altogether.
    """
    weights, levels = content["model"], content["levels"]
    if levels is not None and not 2 <= levels <= MOST_LEVELS:
        raise ValueError(f"levels: expected 2 to {MOST_LEVELS}, got {levels}")
    given = {name: _kind(values) for name, values in weights.items()}
    expected = {name: _kind(values) for name, values in model.state_dict().items()}
    if wrong := sorted(name for name, _ in given.items() ^ expected.items()):
        raise ValueError(f"{wrong[0]} is of another shape or type")
    if not all(values.isfinite().all() for values in weights.values()):
        raise ValueError("a weight is not finite")
    if step := content.get("step"):
        counts = {name: float(average["step"]) for name, average in content["adam"].items()}
        if counts != {name: step for name, _ in model.named_parameters()} or not content["random"]:
            raise ValueError(f"expected Adam's averages and random states after {step} steps")


def _kind(values: torch.Tensor) -> tuple:
    """Return the shape of a weight, whether it holds floats, and whether it repeats a few numbers."""
    repeats = not values.is_meta and values.untyped_storage().nbytes() < values.nbytes
    return (*values.shape, values.is_floating_point(), repeats)


def fingerprint(path: str | Path) -> str:
    """Return what tells a checkpoint from any other: 16 digits of its SHA-256."""
    return hashlib.sha256(read_file(path)).hexdigest()[:16]
