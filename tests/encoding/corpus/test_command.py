"""`tasb encode` gives the plain model's vectors, in corpus order, whatever is asked for in how many commands."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.text_store import write_text_store
from tests.conftest import DIMENSION, TINY, TINY_MODEL, plain_vectors
from tests.encoding.corpus.conftest import UNIT_SIZE, contents, encode


def everything(folder):
    docids, vectors = zip(*VectorFolder(folder).blocks(), strict=True)
    return [docid for block in docids for docid in block], np.concatenate(vectors)


def test_vectors_of_the_plain_model_in_corpus_order(encoded, collection):
    docids, vectors = everything(encoded)
    assert docids == collection.docids
    passages = [f"{title} {text}" for title, text in zip(collection.titles, collection.texts, strict=True)]
    np.testing.assert_allclose(vectors, plain_vectors(TINY_MODEL, passages, 256), atol=1e-4)
    opened = VectorFolder(encoded)
    assert (opened.dimension, opened.count, opened.dtype) == (DIMENSION, len(docids), np.float32)
    assert (opened.about["max_length"], opened.about["precision"]) == (256, "fp32")
    assert len(list((encoded / "units").glob("*.npy"))) == -(-len(docids) // UNIT_SIZE)


@pytest.mark.parametrize("kind", ["gzip and tsv", "store"])
def test_other_collections_and_several(kind, encoded, collection, tmp_path):
    passages = [f"{title} {text}" for title, text in zip(collection.titles, collection.texts, strict=True)]
    records = list(zip(collection.docids, passages, strict=True))
    if kind == "store":
        write_text_store(tmp_path / "store", records)
        corpora = [tmp_path / "store"]
    else:
        lines = [f"{docid}\t{text}\n" for docid, text in records]
        (tmp_path / "a.tsv.gz").write_bytes(gzip.compress("".join(lines[:50]).encode()))
        (tmp_path / "b.tsv").write_text("".join(lines[50:]))
        corpora = [tmp_path / "a.tsv.gz", tmp_path / "b.tsv"]
    assert encode(tmp_path / "out", "--corpus", *corpora, "--max-length", 256) == 0
    docids, vectors = everything(tmp_path / "out")
    assert docids == collection.docids
    assert np.array_equal(vectors, everything(encoded)[1])


def test_options(tmp_path, collection, encoded):
    options = ["--max-length", 8, "--dtype", "fp16", "--unit-size", 123, "--output-format", "jsonl", "npy"]
    assert encode(tmp_path / "out", *options) == 0
    _, vectors = everything(tmp_path / "out")
    passages = [f"{title} {text}" for title, text in zip(collection.titles, collection.texts, strict=True)]
    assert vectors.dtype == np.float16
    np.testing.assert_allclose(vectors, plain_vectors(TINY_MODEL, passages, 8), atol=5e-3)
    assert not np.allclose(vectors, everything(encoded)[1], atol=5e-3)
    assert np.array_equal(np.load(tmp_path / "out" / "npy" / "vectors.npy"), vectors)
    rows = [json.loads(line)["vector"] for line in (tmp_path / "out" / "jsonl" / "embeddings.jsonl").open()]
    assert np.array_equal(np.array(rows, dtype=np.float16), vectors)


def test_a_format_later_needs_no_model(encoded, own_copy, no_model, capsys):
    for name in ("faiss", "npy"):
        for path in (own_copy / name).iterdir():
            path.unlink()
        (own_copy / name).rmdir()
    assert encode(own_copy, "--max-length", 256, "--output-format", "npy", "--output-format", "jsonl", "faiss") == 0
    assert contents(own_copy) == contents(encoded)
    assert f"{own_copy}/jsonl: exists already" in capsys.readouterr().err


def test_the_corpus_is_read_once(own_copy, no_model, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("pyserini_tasb.formats.collections.Corpus.marked", refuse)
    assert encode(own_copy, "--max-length", 256) == 0
    (own_copy / "corpus.json").unlink()
    with pytest.raises(AssertionError):
        encode(own_copy, "--max-length", 256)


def test_empty_texts_are_told_and_get_the_vector_of_the_empty_text(tmp_path, capsys):
    lines = ["1\tone\n", *(f"{number}\t\n" for number in range(2, 9)), "9\ttext\n"]
    (tmp_path / "c.tsv").write_text("".join(lines))
    assert encode(tmp_path / "out", corpus=tmp_path / "c.tsv") == 0
    assert f"7 of 9 passages are empty and get the vector of the empty text: {tmp_path}/c.tsv:2, " in (
        told := capsys.readouterr().err
    )
    assert "c.tsv:6, …" in told
    docids, vectors = everything(tmp_path / "out")
    assert docids == [str(number) for number in range(1, 10)]
    np.testing.assert_allclose(vectors, plain_vectors(TINY_MODEL, ["one", *[""] * 7, "text"]), atol=1e-4)


def test_ctrl_c_stops_after_the_batch_and_the_next_command_goes_on(encoded, tmp_path, monkeypatch, capsys):
    from pyserini_tasb.encoding.encoders import TextEncoder

    batches, begin_tokens = [], TextEncoder.begin_tokens

    def interrupted(self, token_ids, lengths, **options):
        batches.append(len(lengths))
        if len(batches) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return begin_tokens(self, token_ids, lengths, **options)

    monkeypatch.setattr(TextEncoder, "begin_tokens", interrupted)
    assert encode(tmp_path / "out", "--max-length", 256) == 130
    assert len(batches) == 3
    assert "the same command continues" in capsys.readouterr().err
    with pytest.raises(TasbError, match="not finished"):
        VectorFolder(tmp_path / "out")
    before = len(list((tmp_path / "out" / "units").glob("*.json")))
    assert before > 0
    batches += [0, 0, 0]
    assert encode(tmp_path / "out", "--max-length", 256) == 0
    assert sum(batches[6:]) == sum(1 for _ in (TINY / "corpus.jsonl").open()) - before * UNIT_SIZE
    found = contents(tmp_path / "out")
    assert found == {name: content for name, content in contents(encoded).items() if name in found}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--processes", 0], "--processes of at least 1"),
        (["--unit-size", 0], "--unit-size of at least 1"),
        (["--max-length", 2], "2 special tokens"),
        (["--shard", "3/3"], "0/4 to 3/4"),
        (["--shard", "one"], "0/4 to 3/4"),
    ],
)
def test_options_that_cannot_be(options, said, tmp_path, capsys):
    assert encode(tmp_path / "out", *options) == 2
    assert said in capsys.readouterr().err


def test_no_torch_where_no_model_is_needed(encoded):
    script = "import sys; from tests.command_line import tasb; tasb(*sys.argv[1:]); print('torch' in sys.modules)"
    arguments = ["--encoder", TINY_MODEL, "--corpus", TINY / "corpus.jsonl", "--output", encoded, "--max-length", "256"]
    command = [sys.executable, "-c", script, "encode", *arguments, "--output-format", "faiss"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
