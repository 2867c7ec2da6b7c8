"""`PYSERINI_TASB_MMAP=1` under stock Pyserini: the same run, from an index that stays in its file."""

from __future__ import annotations

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes.faiss_folder import DocidFile
from pyserini_tasb.plugin.searchers import SWITCH
from pyserini_tasb.plugin.startup import register_encoders
from tests.conftest import TINY_MODEL
from tests.indexes.stock import search


@pytest.fixture
def searcher():
    register_encoders()
    from pyserini.search.faiss import FaissSearcher

    return FaissSearcher


@pytest.mark.parametrize("options", [[], ["--prf-depth", 3, "--prf-method", "avg"]], ids=["search", "prf"])
def test_stock_search_writes_the_same_run(options, faiss_index, tmp_path, monkeypatch):
    read = search("pyserini.search.faiss", faiss_index, tmp_path / "read", *options)
    monkeypatch.setenv(SWITCH, "1")
    mapped = search("pyserini.search.faiss", faiss_index, tmp_path / "mapped", *options)
    assert read == mapped
    assert (tmp_path / "read").read_bytes() == (tmp_path / "mapped").read_bytes()


@pytest.mark.parametrize(("value", "kind"), [(None, list), ("0", list), ("1", DocidFile)])
def test_only_when_asked(value, kind, searcher, faiss_index, monkeypatch):
    if value is not None:
        monkeypatch.setenv(SWITCH, value)
    opened = searcher(str(faiss_index), f"tasb:{TINY_MODEL}")
    assert type(opened) is searcher  # Pyserini offers PRF to this exact type
    assert type(opened.docids) is kind
    assert opened.search("a sort algorithm", 5)


def test_another_value(searcher, faiss_index, monkeypatch):
    monkeypatch.setenv(SWITCH, "yes")
    with pytest.raises(TasbError, match=rf"(?s){SWITCH}.*found: +yes"):
        searcher(str(faiss_index), f"tasb:{TINY_MODEL}")
