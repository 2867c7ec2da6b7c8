"""A collection is read from any of its records on, and says where each is."""

from __future__ import annotations

import gzip
import json

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.text_store import write_text_store
from tests.conftest import TINY

RECORDS = [(f"d{number}", f"tëxt {number} 🤗") for number in range(30)]
TSV = "".join(f"{id_}\t{text}\n" for id_, text in RECORDS)
JSONL = "".join(json.dumps({"id": id_, "contents": text}, ensure_ascii=False) + "\n" for id_, text in RECORDS)


def _folder(path):
    path.mkdir()
    (path / "a.jsonl").write_text("\n" + JSONL)
    (path / "b.jsonl.gz").write_bytes(gzip.compress(JSONL.replace('"d', '"e').encode()))


WRITERS = {
    "plain": lambda path: path.write_text(TSV),
    "bom, \\r\\n and blank lines": lambda path: path.write_bytes(
        b"\xef\xbb\xbf" + TSV.replace("\n", "\r\n\r\n").encode()
    ),
    "gzip": lambda path: path.write_bytes(gzip.compress(JSONL.encode())),
    "folder": _folder,
    "store": lambda path: write_text_store(path, RECORDS),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_from_every_mark_on(kind, tmp_path):
    WRITERS[kind](tmp_path / "collection")
    collection = open_collection(tmp_path / "collection")
    marked = list(collection.marked())
    assert [record for _, *record in marked] == [list(record) for record in collection]
    assert marked[0][1:] == RECORDS[0]
    for number, (mark, _, _) in enumerate(marked):
        assert list(collection.marked(mark)) == marked[number:]
    assert collection.place(marked[7][0]) == collection.places([8])[0]
    assert all(path.is_file() for path in collection.files())


def test_places_are_files_and_lines(tmp_path):
    _folder(tmp_path / "collection")
    collection = open_collection(tmp_path / "collection")
    marks = [mark for mark, _, _ in collection.marked()]
    places = [collection.place(marks[number]).removeprefix(f"{tmp_path}/collection/") for number in (0, 29, 30)]
    assert places == ["a.jsonl:2", "a.jsonl:31", "b.jsonl.gz:1"]


def test_faults_after_a_mark_have_their_line(tmp_path):
    (tmp_path / "c.tsv").write_text(TSV + "no tab\n")
    collection = open_collection(tmp_path / "c.tsv")
    (mark, _, _) = next(collection.marked())
    with pytest.raises(TasbError, match=r"c\.tsv:31: 1 column"):
        list(collection.marked(mark))


def test_lucene_index_from_a_mark_on(lucene_index):
    collection = open_collection(lucene_index)
    marked = list(collection.marked())
    assert len(marked) == sum(1 for _ in (TINY / "corpus.jsonl").open())
    assert list(collection.marked(marked[100][0])) == marked[100:]
    assert collection.place(marked[100][0]) == "document 101"
    assert [path.name.partition("_")[0] for path in collection.files()] == ["segments"]
