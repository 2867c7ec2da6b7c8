"""BM25 over shards: the run of stock Pyserini over one index of all documents, score by score."""

from __future__ import annotations

import shutil

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes.bm25 import Bm25, Bm25Shards, adjusted
from pyserini_tasb.indexes.rankings import merged
from tests.indexes.lucene_folders import documents_of, write_lucene_folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """All documents in one index, and three shards of very different sizes; some documents are equal, so they tie."""
    documents = documents_of()
    documents += [{**each, "id": f"again-{each['id']}"} for each in documents[::5]]
    folder = tmp_path_factory.mktemp("bm25")
    parts = {"all": documents, "A": documents[:40], "B": documents[40:44], "C": documents[44:]}
    return {name: write_lucene_folder(folder / name, part) for name, part in parts.items()}


def hits(ranking):
    return list(zip(ranking.docids, ranking.scores.tolist(), strict=True))


@pytest.mark.parametrize("bm25", [Bm25(), Bm25(0.82, 0.68)])
def test_shards_are_one_index(bm25, folders, collection):
    from pyserini.search.lucene import LuceneSearcher

    stock = LuceneSearcher(str(folders["all"]))
    stock.set_bm25(bm25.k1, bm25.b)
    shards = [folders[name] for name in "ABC"]
    whole = Bm25Shards(shards, bm25=bm25)
    parts = [Bm25Shards(shards, own, bm25=bm25) for own in ([1], [2, 0])]
    for text in [*collection.topics.values(), "", "the of", "algebraic " * 300]:
        for depth in (1, 10, 1_000):
            expected = [(hit.docid, hit.score) for hit in stock.search(text, depth)]
            assert hits(adjusted(whole.search(text, depth))) == expected
            found = merged([part.search(text, depth) for part in parts], depth, descending_docids=False)
            assert hits(adjusted(found)) == expected


def test_a_docid_in_several_shards_counts_once(folders, tmp_path, collection):
    documents = documents_of()[:6]
    twice = write_lucene_folder(tmp_path / "twice", documents + documents)
    for depth in (1, 3, 100):
        for text in collection.topics.values():
            found = Bm25Shards([twice, folders["B"]]).search(text, depth)
            assert len(set(found.docids)) == len(found)
    text = " ".join(documents[0]["contents"].split()[:5])
    assert len(Bm25Shards([twice]).search(text, 4)) == 4


def test_faults(folders, tmp_path):
    with pytest.raises(TasbError, match="k1"):
        Bm25(-1, 0.4)
    with pytest.raises(TasbError, match="from 0 to 1"):
        Bm25(0.9, 2)
    shutil.copytree(folders["B"], tmp_path / "damaged")
    next((tmp_path / "damaged").glob("*.fdt")).unlink()
    with pytest.raises(TasbError, match="damaged"):
        Bm25Shards([folders["A"], tmp_path / "damaged"])
