from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import textwrap

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import open_collection, store_collection
from pyserini_tasb.formats.text_store import write_text_store
from tests.conftest import TINY


def lines_of(*records: dict) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize("name", ["c.tsv", "c.txt", "c.tsv.gz"])
def test_tsv(tmp_path, name):
    content = "\ufeff007\t first\r\n\n7\t\n\u00e9\tthe \u2028third".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert list(open_collection(tmp_path / name)) == [("007", "first"), ("7", ""), ("é", "the \u2028third")]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"id": "d", "contents": "the text"}, "the text"),
        ({"id": "d", "contents": "title\n the text \n"}, "title the text"),
        ({"id": "d", "title": "title", "contents": "title and text"}, "title and text"),
        ({"_id": "d", "title": "title", "text": "the text", "metadata": {}}, "title the text"),
        ({"_id": "d", "title": None, "text": "the text"}, "the text"),
        ({"_id": "d", "title": "title", "text": ""}, "title"),
        ({"docid": "d", "text": " the text"}, "the text"),
        ({"id": "d", "contents": ""}, ""),
    ],
)
def test_json_fields_are_joined_as_the_encoder_joins_them(tmp_path, record, text):
    (tmp_path / "c.jsonl").write_text(lines_of(record))
    assert list(open_collection(tmp_path / "c.jsonl")) == [("d", text)]


def test_integer_id_is_its_digits(tmp_path):
    (tmp_path / "c.jsonl").write_text(lines_of({"id": 0, "contents": "x"}))
    assert list(open_collection(tmp_path / "c.jsonl")) == [("0", "x")]


def test_folder_is_all_its_json_files_in_order_of_their_names(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.jsonl.gz").write_bytes(gzip.compress(lines_of({"id": "3", "contents": "c"}).encode()))
    (tmp_path / "a.json").write_text(lines_of({"id": "2", "contents": "b"}, {"id": "1", "contents": "a"}))
    (tmp_path / "README.md").write_text("not a collection")
    (tmp_path / ".a.json.swp").write_text("nor this")
    assert [id_ for id_, _ in open_collection(tmp_path)] == ["2", "1", "3"]


def test_folder_in_the_layout_of_beir_is_its_corpus(tmp_path):
    (tmp_path / "corpus.jsonl").write_text(lines_of({"_id": "d", "title": "t", "text": "x"}))
    (tmp_path / "queries.jsonl").write_text(lines_of({"_id": "q", "text": "no passage"}))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    assert list(open_collection(tmp_path)) == [("d", "t x")]


def test_text_store(tmp_path):
    records = [("a", "1"), ("b", "2")]
    store = write_text_store(tmp_path / "store", records)
    collection = open_collection(tmp_path / "store")
    assert list(collection) == records
    assert store_collection(tmp_path / "unused", collection, "s").folder == store.folder


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no tab", "1 column between tabs"),
        (b"a\tb\tc", "3 columns between tabs"),
        (b"\ttext", "the id '' is empty or has white space in it"),
        (b"a b\ttext", "the id 'a b' is empty"),
        (b"a\tt\xffxt", "not UTF-8"),
    ],
)
def test_malformed_tsv_line_is_named(tmp_path, line, reason):
    path = tmp_path / "c.tsv"
    path.write_bytes(b"1\tx\n\n" + line + b"\n2\ty\n" + line)
    with pytest.raises(TasbError) as caught:
        list(open_collection(path))
    assert "2 faulty lines:" in caught.value.found
    assert f"{path}:3: {reason}" in caught.value.found
    assert f"{path}:5: {reason}" in caught.value.found


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: Expecting property name"),
        ("[]", "JSON, but not an object"),
        ('{"contents": "x"}', "no id in id, _id, docid"),
        ('{"id": true, "contents": "x"}', "no id in"),
        ('{"id": 1.5, "contents": "x"}', "no id in"),
        ('{"id": "", "contents": "x"}', "the id '' is empty"),
        ('{"id": "a b", "contents": "x"}', "the id 'a b' is empty or has white space"),
        ('{"id": "d"}', "neither text nor contents"),
        ('{"id": "d", "contents": 5}', "contents is not a string"),
        ('{"id": "d", "text": "x", "title": ["y"]}', "title is not a string"),
        (r'{"id": "d", "contents": "\ud800"}', "contents contains a lone surrogate"),
        (r'{"id": "\udcff", "contents": "x"}', "the id contains a lone surrogate"),
    ],
)
def test_malformed_json_line_is_named(tmp_path, line, reason):
    path = tmp_path / "c.jsonl"
    path.write_text(lines_of({"id": "1", "contents": "x"}) + line)
    with pytest.raises(TasbError) as caught:
        list(open_collection(path))
    assert f"{path}:2: {reason}" in caught.value.found


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(TasbError, match="no such file or folder"):
        open_collection(tmp_path / "absent")
    with pytest.raises(TasbError, match="none of these"):
        open_collection(tmp_path)
    (tmp_path / "c.tsv").write_text("\n")
    with pytest.raises(TasbError, match="an empty file"):
        list(open_collection(tmp_path / "c.tsv"))


def test_repeated_ids_are_named_with_file_and_line(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines_of({"id": "1", "contents": "x"}, {"id": "2", "contents": "x"}))
    (tmp_path / "b.jsonl").write_text("\n" + lines_of({"id": "2", "contents": "x"}, {"id": "1", "contents": "y"}))
    (tmp_path / "store").mkdir()
    with pytest.raises(TasbError) as caught:
        store_collection(tmp_path / "store", open_collection(tmp_path), "my collection")
    assert caught.value.where == "my collection"
    assert f"'2': {tmp_path}/a.jsonl:2 and {tmp_path}/b.jsonl:2" in caught.value.found
    assert f"'1': {tmp_path}/a.jsonl:1 and {tmp_path}/b.jsonl:3" in caught.value.found


PROGRAM = """
    import json, sys
    from pathlib import Path
    from pyserini_tasb.errors import TasbError
    from pyserini_tasb.formats.collections import open_collection

    def records(folder):
        try:
            return list(open_collection(folder))
        except TasbError as error:
            return str(error)

    index, scratch = map(Path, sys.argv[1:])
    found = {"raw": records(index)}
    from pyserini.index.lucene import LuceneIndexer
    for name, options in (("contents", ["-storeContents"]), ("neither", [])):
        indexer = LuceneIndexer(str(scratch / name), args=[
            "-index", str(scratch / name), "-collection", "JsonCollection", "-input", str(scratch), "-threads", "1",
            "-generator", "DefaultLuceneDocumentGenerator", *options])
        indexer.add_doc_dict({"id": "d1", "contents": "title\\ntext one"})
        indexer.add_doc_dict({"id": "d2", "contents": "text two"})
        indexer.close()
        found[name] = records(scratch / name)
    (scratch / "broken").mkdir()
    (scratch / "broken" / "segments_1").write_bytes(b"nothing")
    found["broken"] = records(scratch / "broken")
    print(json.dumps(found))
"""


def test_lucene_indexes(lucene_index, collection, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), lucene_index, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])  # after what the indexer prints
    texts = dict(open_collection(TINY / "corpus.jsonl"))
    assert dict(found["raw"]) == texts
    assert len(found["raw"]) == len(collection.docids)
    assert found["contents"] == [["d1", "title text one"], ["d2", "text two"]]
    assert re.search(r"2 without:\n +document d1: neither contents nor raw are stored\n +document d2", found["neither"])
    assert "--storeContents" in found["neither"]
    assert "expected: a Lucene index that Pyserini can open" in found["broken"]
