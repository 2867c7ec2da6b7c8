from __future__ import annotations

import gzip
import json

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.topics import read_topics


def test_tsv_keeps_ids_and_texts_as_they_are(tmp_path):
    path = tmp_path / "topics.tsv.gz"
    path.write_bytes(gzip.compress("007\twho is  7?\r\n\n7\tcafé\u2028au lait \n".encode()))
    assert read_topics(path) == {"007": "who is  7?", "7": "café\u2028au lait "}


@pytest.mark.parametrize("qid", ["qid", "id", "_id"])
@pytest.mark.parametrize("text", ["text", "contents", "title", "query"])
def test_jsonl_under_any_of_pyserinis_field_names(tmp_path, qid, text):
    path = tmp_path / "topics.jsonl"
    path.write_text(json.dumps({qid: "007", text: "a\tb"}) + "\n" + json.dumps({qid: 0, text: "c"}) + "\n")
    assert read_topics(path) == {"007": "a\tb", "0": "c"}


def test_empty_title_does_not_hide_the_text(tmp_path):
    path = tmp_path / "topics.jsonl"
    path.write_text('{"_id": "1", "text": "", "title": "a title", "metadata": {}}\n')
    assert read_topics(path) == {"1": "a title"}


@pytest.mark.parametrize(
    ("first", "line", "reason"),
    [
        ("1\ta", "no tab", "1 column between tabs"),
        ("1\ta", "2\tb\tlabel", "3 columns between tabs"),
        ("1\ta", "2\t ", "no text for query 2"),
        ("1\ta", "\tb", "the id '' is empty or has white space in it"),
        ("1\ta", "2 3\tb", "the id '2 3' is empty or has white space in it"),
        ("1\ta", "1\tb", "query 1 a second time"),
        ("1\ta", "2\t\udcff", "not UTF-8"),
        ('{"id": 1, "text": "a"}', '{"id": 2, "text": "b"', "not JSON"),
        ('{"id": 1, "text": "a"}', "[2]", "JSON, but not an object"),
        ('{"id": 1, "text": "a"}', '{"docid": 2, "text": "b"}', "no id in qid, id, _id"),
        ('{"id": 1, "text": "a"}', '{"id": true, "text": "b"}', "no id in qid, id, _id"),
        ('{"id": 1, "text": "a"}', '{"id": 2, "body": "b"}', "no text for query 2"),
        ('{"id": 1, "text": "a"}', '{"id": 2, "text": ["b"]}', "the text is not a string"),
        ('{"id": 1, "text": "a"}', '{"id": "1", "text": "b"}', "query 1 a second time"),
    ],
)
def test_faulty_line_is_named_with_its_reason(tmp_path, first, line, reason):
    path = tmp_path / "topics"
    path.write_bytes(f"{first}\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(TasbError) as caught:
        read_topics(path)
    assert f"{path}:2: {reason}" in caught.value.found


def test_empty_file_is_an_error(tmp_path):
    (tmp_path / "topics").touch()
    with pytest.raises(TasbError, match="an empty file"):
        read_topics(tmp_path / "topics")
