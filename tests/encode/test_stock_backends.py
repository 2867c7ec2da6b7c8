"""Stock Pyserini commands with ONNX Runtime, chosen by the environment."""

from __future__ import annotations

import os

from tests.conftest import DIMENSION, TINY, TINY_MODEL, assert_top_hits, run_module


def test_encode_and_search(tmp_path, expected_scores, cache):
    environment = os.environ | {"PYSERINI_TASB_BACKEND": "onnx"}
    fields = ["--fields", "title", "text"]
    done = run_module(
        "pyserini.encode", "input", "--corpus", TINY / "corpus.jsonl", *fields, "output", "--embeddings",
        tmp_path / "index", "--to-faiss", "--dimension", DIMENSION, "encoder", "--encoder", f"tasb:{TINY_MODEL}",
        *fields, "--device", "cpu", "--batch-size", 16,
        env=environment,
    )  # fmt: skip
    assert "encoding with" not in done.stderr  # what was asked goes without saying
    search = [
        "pyserini.search.faiss", "--index", tmp_path / "index", "--encoder", f"tasb:{TINY_MODEL}", "--topics",
        TINY / "topics.tsv", "--hits", 10,
    ]  # fmt: skip
    run_module(*search, "--output", tmp_path / "one.txt", env=environment)
    assert_top_hits(tmp_path / "one.txt", expected_scores, 10)
    assert any((cache / "pyserini-tasb" / "onnx").iterdir())
