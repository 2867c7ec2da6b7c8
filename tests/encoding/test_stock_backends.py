"""Stock Pyserini commands with ONNX Runtime, chosen by the environment."""

from __future__ import annotations

from tests.conftest import DIMENSION, TINY, TINY_MODEL, assert_top_hits, encode_corpus, run_module


def test_encode_and_search(tmp_path, monkeypatch, expected_scores, cache):
    monkeypatch.setenv("PYSERINI_TASB_BACKEND", "onnx")
    encoder = f"tasb:{TINY_MODEL}"
    encode_corpus(
        TINY / "corpus.jsonl", tmp_path / "index", "--to-faiss", "--dimension", str(DIMENSION), encoder=encoder
    )
    run_module(
        "pyserini.search.faiss", "--index", tmp_path / "index", "--encoder", encoder, "--topics",
        TINY / "topics.tsv", "--hits", 10, "--output", tmp_path / "run.txt",
    )  # fmt: skip
    assert_top_hits(tmp_path / "run.txt", expected_scores, 10)
    monkeypatch.setenv("PYSERINI_TASB_BACKEND", "auto")
    done = run_module(
        "pyserini.search.faiss", "--index", tmp_path / "index", "--encoder", encoder, "--topics",
        TINY / "topics.tsv", "--hits", 10, "--output", tmp_path / "run.txt",
    )  # fmt: skip
    assert (
        done.stderr.count(
            "pyserini-tasb: encoding queries with onnx in fp32, the fastest on this machine for precision fp32\n"
        )
        == 1
    )
    assert done.stderr.count("the fastest on this machine") == 1
    assert any((cache / "pyserini-tasb" / "onnx").glob("*/model.onnx"))
