"""What `tasb hybrid` refuses; a run that stood at the output is still there."""

from __future__ import annotations

import signal
import subprocess
import time

import numpy as np
import pytest

from tests.command_line import tasb_argv
from tests.indexes.faiss_folders import write_faiss_folder
from tests.retrieval.hybrid.lucene_indexes import index_documents
from tests.retrieval.hybrid.test_hybrid import ENCODER, TOPICS, tasb_hybrid


@pytest.fixture
def refused(indexes, tmp_path, capsys):
    """Run `tasb hybrid`, which is to fail; what it said."""

    def run(recipe="tasb+bm25", *options, dense=indexes.faiss, sparse=indexes.bm25, topics=TOPICS):
        output = tmp_path / "run"
        output.write_text("mine")
        given = [*(["--dense-index", dense] if dense else []), *(["--sparse-index", sparse] if sparse else [])]
        assert tasb_hybrid(recipe, output, *given, "--encoder", ENCODER, *options, topics=topics) == 2
        assert output.read_text() == "mine"
        assert not list(tmp_path.glob("*.part"))
        return capsys.readouterr().err

    return run


def test_indexes_of_another_kind(refused, indexes, tmp_path):
    assert "found:    a Lucene index of terms" in refused(dense=indexes.bm25)
    assert "found:    a Faiss index" in refused(sparse=indexes.faiss)
    assert "found:    one of HNSW vectors" in refused(sparse=indexes.lucene_hnsw)
    assert "found:    a folder with run" in refused(dense=tmp_path)
    assert "found:    no such folder" in refused(dense=tmp_path / "absent")
    said = refused(sparse="no-such-index-of-pyserini")
    assert "no-such-index-of-pyserini" in said
    assert "no such folder, and Pyserini says" in said


def test_vectors_of_another_dimension(refused, indexes, tmp_path):
    other = write_faiss_folder(tmp_path / "other", ["a"], np.ones((1, 8), np.float32))
    said = refused(dense=other)
    assert "vectors of 32 dimensions" in said
    assert "8-dimensional" in said


def test_more_or_fewer_indexes_than_inputs(refused, indexes, write_recipe):
    said = refused("tasb+bm25+doct5query")
    assert "--sparse-index for each of its inputs bm25, doct5query, in this order" in said
    assert f"1: {indexes.bm25}" in said
    recipe = write_recipe({"kind": "bm25"}, {"kind": "doct5query"})
    assert "no --dense-index" in refused(recipe)
    recipe = write_recipe({"kind": "dense", "encoder": ENCODER}, {"kind": "bm25"}, {"kind": "impact"})
    said = refused(recipe, sparse=None)
    assert "none for bm25, impact" in said
    assert "give --sparse-index" in said


def test_inputs_that_are_runs(refused):
    said = refused("rrf")
    assert "found:    run, run" in said
    assert "`tasb fuse`" in said


def test_an_encoder_of_impact_queries_that_nobody_knows(refused, indexes, write_recipe):
    recipe = write_recipe({"kind": "dense", "encoder": ENCODER}, {"kind": "impact", "encoder": "nobody/knows"})
    assert "`nobody/knows`" in refused(recipe, sparse=indexes.impact)


def test_another_collection(refused, collection, tmp_path):
    documents = [{"id": f"other-{number}", "contents": text} for number, text in enumerate(collection.texts)]
    said = refused(sparse=index_documents(tmp_path / "other", documents))
    assert "other documents, such as" in said
    assert said.count("other-") == 2
    found = said.split("such as ")[1].split("\n")[0].split(", ")
    assert len(found) == 2
    assert set(found) <= set(collection.docids)


def test_one_collection_though_no_hit_in_common(indexes, tmp_path):
    topics = tmp_path / "topics.tsv"
    topics.write_text("1\tcompiler\n")
    given = ["--dense-index", indexes.faiss, "--sparse-index", indexes.bm25, "--encoder", ENCODER, "--hits", 1]
    assert tasb_hybrid("tasb+bm25", tmp_path / "run", *given, topics=topics) == 0
    assert len((tmp_path / "run").read_text().splitlines()) == 2  # one of each


def test_topics_that_are_none(refused, tmp_path):
    (tmp_path / "topics.tsv").write_text("")
    assert "an empty file" in refused(topics=tmp_path / "topics.tsv")


def test_a_docid_twice(refused, collection, tmp_path):
    documents = [{"id": docid, "contents": "computer"} for docid in [*collection.docids, collection.docids[0]]]
    (tmp_path / "topics.tsv").write_text("7\tcomputer\n")
    said = refused(sparse=index_documents(tmp_path / "twice", documents), topics=tmp_path / "topics.tsv")
    assert "124 hits for query 7, but only 123 docids" in said


def test_what_anserini_cannot_answer(refused, tmp_path):
    words = " ".join(f"word{number}" for number in range(2_000))  # a Boolean query has 1,024 clauses at most
    (tmp_path / "topics.tsv").write_text(f"7\tcomputer\n8\t{words}\n")
    said = refused(topics=tmp_path / "topics.tsv")
    assert "an answer to each of 2 queries, from 7 on" in said
    assert "queryCount = 2" in said


def test_interrupted(indexes, tmp_path):
    output, topics = tmp_path / "out" / "run", tmp_path / "topics.tsv"
    output.parent.mkdir()
    output.write_text("mine")
    topics.write_text("".join(f"{number}\tcomputer programs {number}\n" for number in range(2_000)))
    given = ["--dense-index", indexes.faiss, "--sparse-index", indexes.bm25, "--encoder", ENCODER, "--batch-size", 8]
    arguments = ["hybrid", "--recipe", "tasb+bm25", "--topics", topics, "--output", output, "--overwrite", *given]
    # A shell without job control would let its background processes ignore Ctrl-C.
    with (tmp_path / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            tasb_argv(*arguments),
            stderr=errors,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
    try:
        while "queries/s" not in (tmp_path / "stderr").read_text():
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "tasb hybrid: interrupted" in (tmp_path / "stderr").read_text()
    assert [path.name for path in output.parent.iterdir()] == ["run"]
    assert output.read_text() == "mine"
