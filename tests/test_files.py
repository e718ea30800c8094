"""Files are written whole or not at all; only regular ones of a known size are read."""

import os

import pytest

from pyro_vae.files import read_file, replace_file
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
    with pytest.raises(OSError, match="a cannot be written: No space left on device"):
        replace_file(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_of_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="No such file or directory"):
        replace_file(tmp_path / "none" / "a", "text")


def test_a_file_may_be_as_large_as_expected(tmp_path):
    replace_file(tmp_path / "a", "1234")
    assert read_file(tmp_path / "a", most=4) == b"1234"
    with pytest.raises(ValueError, match="a has 4 bytes; expected at most 3"):
        read_file(tmp_path / "a", most=3)


def test_what_would_never_end_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match=f"{path} is no regular file"):
            read_file(path)
