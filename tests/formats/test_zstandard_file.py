"""Zstandard files are read as what they hold; damaged ones and a missing package are errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import open_lines

# Does not compress well: several chunks are to be read.
LINES = [f"{number}\n" for number in np.random.default_rng(0).integers(0, 2**60, 50_000)]


@pytest.fixture
def frames():
    zstandard = pytest.importorskip("zstandard")
    halves = "".join(LINES[:20_000]), "".join(LINES[20_000:])
    return [zstandard.ZstdCompressor(write_checksum=True).compress(half.encode()) for half in halves]


def test_several_frames_are_one_file(frames, tmp_path):
    path = tmp_path / "file"  # by its first bytes, not by its name
    path.write_bytes(b"".join(frames))
    with open_lines(path) as lines:
        assert list(lines) == LINES
    with open_lines(path, len("".join(LINES[:30_000]))) as lines:
        assert list(lines) == LINES[30_000:]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged(frames, tmp_path, damage):
    content = bytearray(b"".join(frames))
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 255
    (tmp_path / "file.zst").write_bytes(content)
    with (
        pytest.raises(TasbError, match=r"(?s)file\.zst.*plain, gzip or Zstandard"),
        open_lines(tmp_path / "file.zst") as lines,
    ):
        list(lines)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "file.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(TasbError, match="pip install zstandard"), open_lines(tmp_path / "file.zst"):
        pass
