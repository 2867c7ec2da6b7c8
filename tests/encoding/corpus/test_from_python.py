"""`encode` from Python: the folder that the command makes, arrays for texts, and errors in Python's words."""

from __future__ import annotations

import json
import os
import signal
import threading

import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb import TasbDocumentEncoder, TasbError, TasbQueryEncoder, Vectors
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.units import EncodingProgress
from pyserini_tasb.encoding.vectors import VectorFolder
from tests.conftest import DIMENSION, TINY, TINY_MODEL
from tests.encoding.corpus.conftest import UNIT_SIZE, contents

CORPUS = TINY / "corpus.jsonl"
MODEL = str(TINY_MODEL)


def encode(output, corpus=CORPUS, **options):
    given = {"encoder": MODEL, "output": output, "max_length": 256, "unit_size": UNIT_SIZE, "device": "cpu"}
    return pyserini_tasb.encode(corpus, **given | options)


def test_the_folder_is_the_commands(encoded, tmp_path, notes, capsys):
    vectors = encode(tmp_path / "out", [CORPUS], output_format=["faiss", "npy"])
    found = contents(tmp_path / "out")
    assert found == {name: content for name, content in contents(encoded).items() if name in found}
    formats = {name: tmp_path / "out" / name for name in ("faiss", "npy")}
    assert vectors == Vectors(tmp_path / "out", MODEL, 123, DIMENSION, "float32", formats, 0)
    assert os.fspath(vectors) == str(tmp_path / "out")
    assert vectors.summary.splitlines()[-1].startswith(f"{tmp_path}/out: 123 vectors of 32 float32 numbers, ")
    assert "<td>123</td>" in vectors._repr_html_()
    assert "123 passages encoded in" in notes.text
    assert capsys.readouterr().out == ""


def test_the_bar_advances_by_passages_of_average_length(tmp_path, monkeypatch):
    corpus = tmp_path / "corpus.tsv"
    texts = ["boundary layer " * 60] * 8 + ["boundary"] * 192  # the long ones are most of the tokens, and come first
    corpus.write_text("".join(f"{docid}\t{text}\n" for docid, text in enumerate(texts)))
    positions = []
    add = EncodingProgress.add

    def added(progress, batch):
        add(progress, batch)
        positions.append((progress.passages, progress._bar.n))

    monkeypatch.setattr(EncodingProgress, "add", added)
    monkeypatch.setattr(TextEncoder, "tokens_per_batch", lambda *_: 128)
    encode(tmp_path / "out", corpus, unit_size=100)
    assert positions[7][0] == 8
    assert 60 < positions[7][1] < 100
    assert positions[-1] == (200, 200)


def test_a_shard_says_what_is_left(tmp_path):
    first = encode(tmp_path / "out", shard="0/2", output_format=["faiss"])
    assert (first.units_left, first.formats) == (3, {})
    second = encode(tmp_path / "out", shard="1/2", output_format=["faiss"])
    assert (second.units_left, second.formats) == (0, {"faiss": tmp_path / "out" / "faiss"})


def test_texts_become_the_vectors_of_pyserinis_classes(collection, tmp_path):
    card = tmp_path / "card.yaml"
    card.write_text(f"name: mine\nmodel: {TINY_MODEL}\nquery_prefix: 'query: '\nquery_max_length: 8\n")
    texts = collection.texts[:9]
    passages = pyserini_tasb.encode(texts=texts, encoder=str(card), device="cpu")
    assert passages.dtype == np.float32
    np.testing.assert_array_equal(passages, TasbDocumentEncoder(str(card), device="cpu").encode(texts))
    queries = pyserini_tasb.encode(texts=texts, encoder=str(card), kind="query", device="cpu")
    np.testing.assert_array_equal(queries, TasbQueryEncoder(str(card)).encode_batch(texts))
    short = pyserini_tasb.encode(texts=texts, encoder=str(card), max_length=5, device="cpu")
    np.testing.assert_array_equal(short, TasbDocumentEncoder(str(card), device="cpu").encode(texts, max_length=5))
    assert pyserini_tasb.encode(texts=[], encoder=str(card), device="cpu").shape == (0, DIMENSION)


def test_a_corpus_of_queries(collection, tmp_path, notes):
    """Its texts get what the card gives queries; passages are not gone on with in its folder, nor indexed of it."""
    card = tmp_path / "card.yaml"
    card.write_text(f"name: mine\nmodel: {TINY_MODEL}\nquery_prefix: 'query: '\nquery_max_length: 8\n")
    topics = tmp_path / "queries.tsv"
    topics.write_text("".join(f"q{number}\t{text}\n" for number, text in enumerate(collection.texts[:9]) if text))
    vectors = encode(tmp_path / "out", topics, encoder=str(card), kind="query")
    ((qids, found),) = VectorFolder(vectors.path).blocks()
    texts = [collection.texts[int(qid[1:])] for qid in qids]
    np.testing.assert_allclose(found, TasbQueryEncoder(str(card)).encode_batch(texts), atol=1e-5)
    assert f"{len(texts)} queries encoded in" in notes.text
    assert vectors.summary.endswith(" bytes a query")
    assert VectorFolder(vectors.path).kind == "query"
    with pytest.raises(TasbError, match="kind query, not passage"):
        encode(tmp_path / "out", topics, encoder=str(card), max_length=8)
    with pytest.raises(TasbError, match=r"(?s)vectors of passages.*vectors of queries"):
        pyserini_tasb.index(vectors, output=tmp_path / "index")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"corpus": None}, r"corpus= or texts=\n.*neither"),
        ({"texts": ["a"]}, r"corpus= or texts=\n.*both"),
        ({"corpus": None, "texts": ["a"]}, "output= with corpus="),
        ({"corpus": None, "texts": "a"}, "a list of texts for texts="),
        ({"output": None}, "output=, a folder"),
        ({"kind": "queries"}, "one of passage, query for kind=\n.*`queries`\n.*did you mean `query`"),
        ({"dtype": "float16"}, "one of fp32, fp16 for dtype="),
        ({"precision": "half"}, "for precision="),
        ({"output_format": ["faiss", "jsnl"]}, "for output_format=\n.*`jsnl`\n.*did you mean `jsonl`"),
        ({"processes": 0}, "processes= of at least 1"),
        ({"shard": "3/3"}, "shard='i/n' with"),
    ],
)
def test_arguments_that_cannot_be(options, said, tmp_path, no_model):
    with pytest.raises(TasbError, match=said):
        encode(**{"output": tmp_path / "out"} | options)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_is_raised_and_the_same_call_goes_on(encoded, tmp_path, monkeypatch, notes):
    begin_tokens, batches = TextEncoder.begin_tokens, []

    def interrupted(self, token_ids, lengths, **options):
        batches.append(len(lengths))
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return begin_tokens(self, token_ids, lengths, **options)

    monkeypatch.setattr(TextEncoder, "begin_tokens", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "out")
    assert "continues after the last finished unit" in notes.text
    encode(tmp_path / "out")
    found = contents(tmp_path / "out")
    assert found == {name: content for name, content in contents(encoded).items() if name in found}


def test_processes_get_the_back_end_and_their_notes_come_here(tmp_path, notes):
    vectors = encode(tmp_path / "out", processes=2, backend="auto")
    manifest = json.loads((vectors.path / "manifest.json").read_text())
    assert manifest["about"]["computed by"] == "torch fp32"
    said = [
        message for message in notes.messages if message.startswith("encoding passages with torch in fp32, the fastest")
    ]
    assert len(said) == 1
    (vectors.path / "units" / "000001.json").unlink()
    with pytest.raises(TasbError, match="computed by torch fp32, not onnx fp32"):
        encode(vectors.path, backend="onnx", processes=2)


def test_in_a_thread(encoded, tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(encode(tmp_path / "out")))
    thread.start()
    thread.join()
    assert made[0].passages == 123
