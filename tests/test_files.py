"""The one atomic writer of files."""

import os

import pytest

from pyro_vae.files import replace_file
from tests.support.faults import full_disk


@pytest.mark.parametrize(
    "content, expected", [("text ü", "text ü".encode()), (b"\x00\xff", b"\x00\xff")]
)
def test_a_file_holds_what_was_written(tmp_path, content, expected):
    replace_file(tmp_path / "a", "old and longer than the new one")
    replace_file(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == expected
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("place", ["os.fsync", "os.replace"])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, place):
    replace_file(tmp_path / "a", "old")
    monkeypatch.setattr(place, full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        replace_file(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_of_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="No such file or directory"):
        replace_file(tmp_path / "none" / "a", "text")
