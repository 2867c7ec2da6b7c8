"""Docids are those that Pyserini would read."""

from __future__ import annotations

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes import faiss_folder
from pyserini_tasb.indexes.faiss_folder import DocidFile


@pytest.mark.parametrize("content", ["a\nbb\nccc\n", "a\nbb\nccc", "a \r\nbb\r\nccc\r\n", "ä\n\n漢字\n", "", "\n"])
@pytest.mark.parametrize("at_once", [2, 1 << 20])
def test_as_pyserini_reads_them(content, at_once, tmp_path, monkeypatch):
    from pyserini.search.faiss import FaissSearcher

    monkeypatch.setattr(faiss_folder, "BYTES_AT_ONCE", at_once)
    path = tmp_path / "docid"
    path.write_bytes(content.encode())
    expected = FaissSearcher.load_docids(str(path))
    docids = DocidFile(path)
    assert len(docids) == len(expected)
    assert list(docids) == docids[:] == expected
    assert docids[1:] == expected[1:]
    if expected:
        assert docids[-1] == expected[-1]
    for row in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            docids[row]


def test_no_such_file(tmp_path):
    with pytest.raises(TasbError, match=r"(?s)docid.*No such file"):
        DocidFile(tmp_path / "docid")
