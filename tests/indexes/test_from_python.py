"""`index` from Python, between `encode` and `search`."""

from __future__ import annotations

import json
import logging
import re
import time

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
        "kind", "recipe", "vectors", "dimension", "bytes", "seconds", "threads", "queries", "quality", "trained",
        "encoders", "warning",
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
    assert "encoder  unknown" in index.summary


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("PQ4x3", None), ("PQ4x4", "624"), ("OPQ4,IVF12,PQ4", "9,984"), ("IVF20,Flat", "780"), ("PCA16,PQ4", "9,984")],
)
def test_before_it_trains_it_says_how_long_and_warns_of_few_vectors_once(
    vectors, tmp_path, caplog, capfd, kind, wanted
):
    with caplog.at_level(logging.INFO, "pyserini_tasb"):
        index = pyserini_tasb.index(vectors.folder, output=tmp_path / "index", kind=kind, threads=1)
    few = [] if wanted is None else ["WARNING"]
    weak = ["WARNING"] if index.warning else []
    of_lengths = "IVF" in kind  # these vectors' lengths differ
    assert [record.levelname for record in caplog.records] == [*few, *["INFO"] * (1 + of_lengths), *weak]
    count = len(vectors.docids)
    if wanted:
        assert caplog.messages[0].startswith(f"Faiss advises {wanted} vectors or more")
        assert f"there are only {count}: " in caplog.messages[0]
    assert re.fullmatch(rf"training on {count} vectors drawn at random, for about \d+ s", caplog.messages[len(few)])
    assert caplog.messages[len(few) + 1 + of_lengths :] == [index.warning] * len(weak)
    assert "WARNING" not in "".join(capfd.readouterr())  # nothing from Faiss itself


def test_its_estimate_changes_no_byte(vectors, tmp_path, monkeypatch):
    for name in ("estimated", "not"):
        pyserini_tasb.index(vectors.folder, output=tmp_path / name, kind="OPQ4,IVF4,PQ4", threads=1)
        monkeypatch.setattr("pyserini_tasb.indexes.faiss_build._Clusterings.seconds", lambda *_: 0)
    assert (tmp_path / "not" / "index").read_bytes() == (tmp_path / "estimated" / "index").read_bytes()


def test_long_training_says_how_long_it_has_been_at_work(vectors, tmp_path, monkeypatch, caplog):
    train = faiss.IndexPQ.train
    monkeypatch.setattr(faiss.IndexPQ, "train", lambda *given: (time.sleep(2.5), train(*given)))
    monkeypatch.setattr("pyserini_tasb.indexes.faiss_build.SECONDS_BETWEEN_NOTES", 1)
    with caplog.at_level(logging.INFO, "pyserini_tasb"):
        pyserini_tasb.index(vectors.folder, output=tmp_path / "index", kind="PQ4x4", threads=1)
    assert re.fullmatch(r"training: [12] s of about \d+ s", caplog.messages[2])


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
