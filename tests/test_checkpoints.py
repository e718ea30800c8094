"""A checkpoint is written whole or not at all."""

import os
import zipfile

import pytest
import torch

from pyro_vae.checkpoints import load_checkpoint, save_checkpoint


def test_what_is_saved_is_loaded(tmp_path):
    content = {
        "step": 3,
        "best": None,
        "weights": {"a": torch.rand(2, 3)},
        "random": [torch.rand(1)],
    }
    save_checkpoint(tmp_path / "last.pt", content)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert loaded.keys() == content.keys() and loaded["step"] == 3 and loaded["best"] is None
    assert torch.equal(loaded["weights"]["a"], content["weights"]["a"])
    assert torch.equal(loaded["random"][0], content["random"][0])


def test_a_slice_takes_no_more_room_than_it_needs(tmp_path):
    """The weights of a model in a stack are slices of large tensors."""
    save_checkpoint(tmp_path / "last.pt", {"weights": {"a": torch.rand(1000, 1000)[3]}})
    assert (tmp_path / "last.pt").stat().st_size < 10_000
    assert load_checkpoint(tmp_path / "last.pt")["weights"]["a"].shape == (1000,)


def test_a_checkpoint_that_would_fill_the_memory_is_not_unpacked(tmp_path):
    """A megabyte of zeros takes a kilobyte; and of a file with a hole nothing is read."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": {"a": torch.zeros(2**18)}})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"last\.pt cannot be read: BadZipFile"):
        load_checkpoint(path)
    os.truncate(path, 2**40)
    with pytest.raises(ValueError, match=r"last\.pt has 1,099,511,627,776 bytes; expected at most"):
        load_checkpoint(path)


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")
