"""A checkpoint is written whole or not at all."""

import pytest
import torch

from pyro_vae.checkpoints import load_checkpoint, save_checkpoint
from tests.support.faults import full_disk


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


def test_a_full_disk_keeps_the_old_file(elsewhere, tmp_path, monkeypatch):
    save_checkpoint("last.pt", {"step": 1})
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match=r"last\.pt cannot be written: No space left on device"):
        save_checkpoint("last.pt", {"step": 2})
    assert load_checkpoint("last.pt") == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path) == {"step": 1}


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")
