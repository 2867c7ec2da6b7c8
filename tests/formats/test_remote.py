"""Corpora behind URLs: the same passages and marks as in a file, and errors that say what to do."""

from __future__ import annotations

import functools
import gzip
import http.server
import threading

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import Corpus
from tests.conftest import TINY

CORPUS = TINY / "corpus.jsonl"


def assert_same(corpus, at=50):
    """All passages, and those from one in the middle on, which is sought."""
    expected = list(Corpus([str(CORPUS)]).marked())
    assert list(corpus.marked()) == expected
    assert list(corpus.marked(expected[at][0])) == expected[at:]


@pytest.fixture
def web(tmp_path):
    """A folder, and its URL. This server knows no ranges, so that nothing can be sought."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_s3_plain_and_compressed_and_a_folder(s3):
    content = CORPUS.read_bytes()
    lines = content.splitlines(keepends=True)
    s3.put_object(Bucket="bucket", Key="plain.jsonl", Body=content)
    s3.put_object(Bucket="bucket", Key="packed.jsonl.gz", Body=gzip.compress(content))
    for name, part in {"a.jsonl": lines[:70], "b.jsonl": lines[70:], ".hidden.jsonl": lines[:1]}.items():
        s3.put_object(Bucket="bucket", Key=f"folder/{name}", Body=b"".join(part))
    assert_same(Corpus(["s3://bucket/plain.jsonl"]))
    assert_same(Corpus(["s3://bucket/packed.jsonl.gz"]))
    folder = Corpus(["s3://bucket/folder"])
    assert [passage for _, *passage in folder.marked()] == [p for _, *p in Corpus([str(CORPUS)]).marked()]
    assert [state[0] for state in folder.state()] == ["s3://bucket/folder/a.jsonl", "s3://bucket/folder/b.jsonl"]


def test_a_file_that_is_written_anew_has_another_state(s3):
    states = []
    for text in ("one", "two", "two"):
        s3.put_object(Bucket="bucket", Key="changing.tsv", Body=f"1\t{text}\n".encode())
        states.append(Corpus(["s3://bucket/changing.tsv"]).state())
    assert states[0] != states[1] == states[2]


def test_http_without_ranges(web):
    folder, url = web
    (folder / "corpus.jsonl").write_bytes(CORPUS.read_bytes())
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(CORPUS.read_bytes()))
    assert_same(Corpus([f"{url}/corpus.jsonl"]))
    assert_same(Corpus([f"{url}/corpus.jsonl.gz"]))


def test_errors(s3):
    s3.put_object(Bucket="bucket", Key="bad.tsv", Body=b"1\ttext\nnothing\n")
    for url, message in {
        "s3://bucket/none.jsonl": r"s3://bucket/none\.jsonl\n.*\n.*no such file or folder",
        "s3://no-such-bucket/x.jsonl": "s3://no-such-bucket/x.jsonl",
        "gs://bucket/corpus.jsonl": r"pip install gcsfs",
        "nowhere://bucket/corpus.jsonl": r"a package that reads `nowhere://`",
        "s3://bucket/bad.tsv": r"s3://bucket/bad\.tsv:2: 1 column between tabs",
    }.items():
        with pytest.raises(TasbError, match=message):
            list(Corpus([url]).marked())
