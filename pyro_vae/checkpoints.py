"""A checkpoint: one dict of tensors and plain values, written whole or not at all."""

import hashlib
import io
import zipfile
from pathlib import Path

import torch

from pyro_vae.files import read_file, replace_file


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


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict:
    """Return what `save_checkpoint` wrote, on a device; no code in the file is run.

    Raises:
        OSError: there is no such file.
        ValueError: a file that is not a checkpoint.
    """
    file = io.BytesIO(read_file(path))
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.testzip():  # checks the checksums, which torch ignores
                raise zipfile.BadZipFile
        file.seek(0)
        content = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # torch has no common class for what a damaged file raises
        raise ValueError(f"checkpoint: {path} cannot be read: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint: {path} holds a {type(content).__name__}, not a dict")
    return content


def fingerprint(path: str | Path) -> str:
    """Return what tells a checkpoint from any other: 16 digits of its SHA-256."""
    return hashlib.sha256(read_file(path)).hexdigest()[:16]
