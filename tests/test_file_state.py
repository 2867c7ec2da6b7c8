"""What a file or folder holds, in a few characters."""

from __future__ import annotations

import os

import pytest

from pyserini_tasb import artifacts as module
from pyserini_tasb.artifacts import file_state


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").write_text("one")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b").write_text("two")
    return tmp_path


def test_content_counts_not_time(folder):
    before = file_state(folder), file_state(folder / "a")
    os.utime(folder / "a", (0, 0))
    assert (file_state(folder), file_state(folder / "a")) == before
    stat = (folder / "a").stat()
    (folder / "a").write_text("eno")
    os.utime(folder / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file_state(folder) != before[0]
    assert file_state(folder / "a") != before[1]


def test_names_count_in_a_folder(folder):
    before = file_state(folder)
    (folder / "inner" / "b").rename(folder / "inner" / "c")
    assert file_state(folder) != before


def test_what_is_large_goes_by_size_and_time(folder, monkeypatch):
    monkeypatch.setattr(module, "DIGESTED_BYTES", 5)
    before = file_state(folder)
    assert "6 bytes" in before
    os.utime(folder / "a", (2**31, 2**31))
    assert file_state(folder) != before
    assert file_state(folder / "a") == file_state(folder / "a")


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_state(tmp_path / "nothing")
