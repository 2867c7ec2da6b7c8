"""`index` from Python, between `encode` and `search`."""

from __future__ import annotations

import json
import logging

import faiss
import pytest

import pyserini_tasb
from pyserini_tasb import Index, TasbError
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL

OWN = f"tasb:{TINY_MODEL}"
TOPICS = TINY / "topics.tsv"


def test_from_a_corpus_to_a_run(tmp_path, capsys):
    vectors = pyserini_tasb.encode(TINY / "corpus.jsonl", encoder=OWN, output=tmp_path / "vectors", device="cpu")
    index = pyserini_tasb.index(vectors, output=tmp_path / "index", threads=1)
    assert isinstance(index, Index)
    assert (index.path, index.encoder, index.vectors, index.dimension) == (tmp_path / "index", OWN, 123, 32)
    assert index.quality.recall == {10: 1, 100: 1, 1_000: 1}
    assert index.warning == ""
    report = json.loads((tmp_path / "index" / "report.json").read_text())
    assert list(report) == [
        "kind", "recipe", "vectors", "dimension", "bytes", "seconds", "threads", "queries", "quality", "encoders",
        "warning",
    ]  # fmt: skip
    assert (report["kind"], report["recipe"], report["encoders"]) == ("flat", "Flat", [OWN])
    run = pyserini_tasb.search(index, topics=TOPICS, hits=20)
    assert capsys.readouterr().out == ""
    assert tasb("search", "--index", index.path, "--topics", TOPICS, "--hits", 20, "--output", tmp_path / "run") == 0
    run.write(tmp_path / "same", tag=run.name)
    assert (tmp_path / "run").read_bytes() == (tmp_path / "same").read_bytes()


def test_measured_with_topics_in_memory(vectors, collection, tmp_path):
    index = pyserini_tasb.index(
        vectors.folder, output=tmp_path / "index", topics=collection.topics, encoder=OWN, backend="torch", threads=1
    )
    assert index.queries == f"10 queries of the topics given, encoded by {OWN}"
    assert index.encoder is None  # those vectors do not say it
    assert "encoder  not known" in index.summary


def test_what_is_weak_is_logged(vectors, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "pyserini_tasb"):
        index = pyserini_tasb.index(vectors.folder, output=tmp_path / "index", kind="PQ4x4", threads=1)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert caplog.messages == [f"training on {len(vectors.docids)} vectors drawn at random", index.warning]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"topics": TOPICS}, "topics= and encoder= together\n.*topics= alone"),
        ({"kind": "lucene-flat", "sample": 3}, r"kind='lucene-flat'\n.*\n.*sample=, for Faiss only"),
        ({"refine": "int8"}, "one of fp32, fp16 for refine="),
        ({"query_encoder": ["tasb:minlm"]}, "did you mean `tasb:minilm`"),
    ],
)
def test_refused(options, said, vectors, tmp_path):
    with pytest.raises(TasbError, match=said):
        pyserini_tasb.index(vectors.folder, output=tmp_path / "index", **options)
    assert list(tmp_path.iterdir()) == []


def test_threads_are_those_of_the_environment_unless_given(vectors, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = faiss.omp_get_max_threads()
    try:
        assert pyserini_tasb.index(vectors.folder, output=tmp_path / "environment").threads == 3
        assert faiss.omp_get_max_threads() == 3
        assert pyserini_tasb.index(vectors.folder, output=tmp_path / "given", threads=2).threads == 2
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


def test_few_vectors_are_trained_on_by_one_thread(vectors, tmp_path, monkeypatch):
    """Threads that wait for each other after every few microseconds are slow where others use the cores."""
    trained_by = []
    train = faiss.IndexPQ.train
    monkeypatch.setattr(
        faiss.IndexPQ, "train", lambda *given: (trained_by.append(faiss.omp_get_max_threads()), train(*given))
    )
    monkeypatch.setattr("pyserini_tasb.indexes.faiss_build.LEAST_FOR_THREADS", len(vectors.docids))
    pyserini_tasb.index(vectors.folder, output=tmp_path / "many", kind="PQ4x4", threads=2)
    monkeypatch.setattr("pyserini_tasb.indexes.faiss_build.LEAST_FOR_THREADS", len(vectors.docids) + 1)
    pyserini_tasb.index(vectors.folder, output=tmp_path / "few", kind="PQ4x4", threads=2)
    assert trained_by == [2, 1]
    assert faiss.omp_get_max_threads() == 2
