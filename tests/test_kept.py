"""Results that are computed once and kept."""

import numpy as np
import pytest
import torch

from pyro_vae.kept import digest, kept, load_arrays, save_arrays
from pyro_vae.notices import Notice


class Counted:
    """A computation that counts its calls."""

    calls = 0

    def __call__(self):
        self.calls += 1
        return {"values": torch.arange(3.0), "word": "good", "number": self.calls}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "a.npz"


def test_what_is_kept_is_computed_once_for_a_mark(path):
    compute = Counted()
    for mark, calls in (("a", 1), ("a", 1), ("b", 2), ("a", 3)):
        found = kept(path, mark, compute)
        assert compute.calls == calls and list(found) == ["values", "word", "number"]
        assert found["values"].tolist() == [0, 1, 2] and found["number"] == calls
        assert found["word"].item() == "good"


@pytest.mark.parametrize("content", [b"", b"damaged", b"PK\x03\x04 not an archive"])
def test_a_damaged_file_is_made_again_with_a_notice(path, content):
    compute = Counted()
    kept(path, "a", compute)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(np.arange(3, dtype="f4").tobytes())] ^= 1  # which its checksum shows
    for damaged in (content, bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.warns(Notice, match=f"kept: {path} cannot be read.*computed again"):
            assert kept(path, "a", compute)["values"].tolist() == [0, 1, 2]
        assert "values" in load_arrays(path)
    assert compute.calls == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda whole, arrays: whole.replace(b"'shape': (5000,)", b"'shape': (1000,)"),  # one bit
        lambda whole, arrays: whole.replace(b"values.npy", b"values.npx"),
        lambda whole, arrays: arrays | {"values": np.zeros(5)},
        lambda whole, arrays: arrays | {"values": np.full(5000, np.nan)},
        lambda whole, arrays: arrays | {"values": np.full(5000, "text")},
        lambda whole, arrays: {name: a for name, a in arrays.items() if name != "values"},
    ],
    ids=["fewer", "bytes", "five values", "NaN", "text", "missing"],
)
def test_what_is_not_as_it_was_written_is_made_again_with_a_notice(path, change):
    def compute():
        return {"values": np.arange(5000.0)}

    kept(path, "a", compute)
    changed = change(path.read_bytes(), load_arrays(path))
    path.write_bytes(changed) if isinstance(changed, bytes) else save_arrays(path, changed)
    with pytest.warns(Notice, match=f"kept: {path} .*; what it held is computed again"):
        assert np.array_equal(kept(path, "a", compute)["values"], np.arange(5000))
    assert np.array_equal(kept(path, "a", pytest.fail)["values"], np.arange(5000))


def test_an_archive_that_would_fill_the_memory_is_refused(path, monkeypatch):
    path.parent.mkdir()
    np.savez_compressed(path, values=np.zeros(10**6))
    monkeypatch.setattr("pyro_vae.kept.LARGEST", 10**6)
    with pytest.raises(ValueError, match="cannot be read: ValueError"):
        load_arrays(path)


def test_a_pickle_is_never_opened(path):
    path.parent.mkdir()
    np.savez(path, values=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read: ValueError"):
        load_arrays(path)


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    compute = Counted()
    for _ in range(2):
        assert kept(tmp_path / "file" / "a.npz", "a", compute)["word"] == "good"
    assert compute.calls == 2 and (tmp_path / "file").read_text() == "in the way"


def test_an_error_of_the_computation_keeps_nothing(path):
    def fail():
        raise OSError("no data")

    with pytest.raises(OSError, match="no data"):
        kept(path, "a", fail)
    assert not path.exists()


def test_what_differs_has_another_digest():
    images = torch.rand(2, 1, 4, 4)
    parts = [(images,), (images.view(2, 1, 2, 8),), (images.double(),), (images, 1), (images, "1")]
    assert len({digest(*part) for part in parts}) == 5 and digest(images) == digest(images.clone())
    assert len({digest(part[0].numpy()) for part in parts[:3]}) == 3
