"""The texts of a run's passages: from files by streaming, from stores and Lucene indexes by docid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import LineCollection, StoredCollection, open_collection
from pyserini_tasb.formats.passages import read_passages
from pyserini_tasb.formats.records import LuceneCollection
from pyserini_tasb.formats.text_store import write_text_store
from pyserini_tasb.recipes.lookup import prebuilt
from pyserini_tasb.regression.needs import unpacked
from tests.conftest import TINY

TEXTS = {"d2": "two", "d1": "one", "d3": "", "d4": "four"}


def write_tsv(path: Path, *more: str) -> Path:
    path.write_text("".join(f"{docid}\t{text}\n" for docid, text in TEXTS.items()) + "".join(more))
    return path


@pytest.fixture
def nothing_streamed(monkeypatch):
    def refuse(_):
        pytest.fail("the whole collection was read")

    for kind in (LineCollection, StoredCollection, LuceneCollection):
        monkeypatch.setattr(kind, "__iter__", refuse)


def test_only_what_is_asked_for_is_kept(tmp_path):
    found = read_passages(write_tsv(tmp_path / "c.tsv"), ["d4", "nowhere", "d1", "d3"])
    assert found == {"d4": "four", "d1": "one", "d3": ""}


def test_json_has_its_title(collection):
    docid = collection.docids[5]
    assert read_passages(TINY / "corpus.jsonl", [docid]) == {docid: f"{collection.titles[5]} {collection.texts[5]}"}


def test_a_store_is_asked_by_docid(tmp_path, nothing_streamed):
    write_text_store(tmp_path / "store", TEXTS.items())
    found = read_passages(tmp_path / "store", ["d4", "nowhere", "d1", "d3"])
    assert found == {"d4": "four", "d1": "one", "d3": ""}


def test_a_file_is_read_to_its_end(tmp_path):
    path = write_tsv(tmp_path / "c.tsv", "no tab\n")
    with pytest.raises(TasbError, match=r"c\.tsv:5: 1 column between tabs"):
        read_passages(path, ["d1"])


def test_two_texts_for_a_docid_of_the_run(tmp_path):
    path = write_tsv(tmp_path / "c.tsv", "d1\tanother\n", "d2\tanother\n", "d1\ta third\n")
    with pytest.raises(TasbError, match=r"c\.tsv\n(?s:.*)more for 2 of the run: d1, d2\n"):
        read_passages(path, ["d1", "d2", "d4"])
    assert read_passages(path, ["d4"]) == {"d4": "four"}


def test_no_collection(tmp_path):
    with pytest.raises(TasbError, match="no such file or folder"):
        read_passages(tmp_path / "absent", ["d1"])


def test_an_index_by_pyserinis_name_for_it(lucene_index, suitable_java, collection, tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_CACHE", str(tmp_path))
    folder = unpacked(prebuilt("msmarco-v1-passage"))
    folder.parent.mkdir()
    folder.symlink_to(lucene_index)
    docid = collection.docids[3]
    texts = dict(open_collection(TINY / "corpus.jsonl"))
    assert read_passages(Path("msmarco-v1-passage"), [docid]) == {docid: texts[docid]}
    with pytest.raises(TasbError, match="Unrecognized index name msmarco-v0-passage"):
        read_passages(Path("msmarco-v0-passage"), [docid])
    with pytest.raises(TasbError, match="no such file or folder\n"):
        read_passages(Path("passages.tsv.gz"), [docid])


def test_an_index_of_vectors_is_refused_before_it_is_downloaded(suitable_java, tmp_path, monkeypatch):
    from pyserini import util
    from pyserini.prebuilt_index_info import FAISS_INDEX_INFO

    monkeypatch.setattr(util, "download_prebuilt_index", lambda name: pytest.fail(f"downloaded {name}"))
    name = next(name for name in FAISS_INDEX_INFO if "tas" in name)
    with pytest.raises(TasbError, match=f"Pyserini's {name} is an index of vectors, without text"):
        read_passages(Path(name), ["d1"])


def test_a_stock_lucene_index_is_asked_by_docid(lucene_index, suitable_java, collection, request):
    texts = dict(open_collection(TINY / "corpus.jsonl"))
    wanted = [collection.docids[number] for number in (40, 3, 17)]
    request.getfixturevalue("nothing_streamed")
    assert read_passages(lucene_index, ["nowhere", *wanted]) == {docid: texts[docid] for docid in wanted}


def lucene(folder: Path, *records: tuple[str, str], options: tuple[str, ...] = ()) -> Path:
    from pyserini.index.lucene import LuceneIndexer

    arguments = [
        "-index", str(folder), "-collection", "JsonCollection", "-input", str(folder.parent), "-threads", "1",
        "-generator", "DefaultLuceneDocumentGenerator", *options,
    ]  # fmt: skip
    indexer = LuceneIndexer(str(folder), args=arguments)
    for docid, text in records:
        indexer.add_doc_dict({"id": docid, "contents": text})
    indexer.close()
    return folder


def test_lucene_indexes_of_our_own(suitable_java, tmp_path):
    records = [("d1", "title\ntext one"), ("d2", "text two"), ("d2", "again"), ("é/1", "text three")]
    stored = lucene(tmp_path / "stored", *records, options=("-storeContents",))
    assert read_passages(stored, ["d1", "é/1"]) == {"d1": "title text one", "é/1": "text three"}
    with pytest.raises(TasbError, match="more for 1 of the run: d2\n"):
        read_passages(stored, ["d1", "d2"])
    raw = lucene(tmp_path / "raw", *records, options=("-storeRaw",))
    assert read_passages(raw, ["d1"]) == {"d1": "title text one"}
    records = [(f"d{number}", "text") for number in range(8)]
    without = lucene(tmp_path / "without", *records)
    with pytest.raises(TasbError, match=r"7 of the run without:(?s:.*)document d4: neither(?s:.*)… and 2 more"):
        read_passages(without, [docid for docid, _ in records[:7]])


def test_a_broken_lucene_index(suitable_java, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "segments_1").write_bytes(json.dumps("nothing").encode())
    with pytest.raises(TasbError, match="a Lucene index that Pyserini can open"):
        read_passages(tmp_path / "broken", ["d1"])
