"""MTEB evaluates a trained folder as it is, and finds what `tasb evaluate` finds."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import pyserini_tasb as tasb
from tests.conftest import TINY, TINY_MODEL

mteb = pytest.importorskip("mteb", reason="mteb is not installed: it comes with the extra test")


@pytest.fixture
def task(collection):
    """A retrieval task of MTEB, over the tiny collection and without the hub."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    qrels = tasb.Qrels.read(TINY / "qrels.txt")

    class TinyRetrieval(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="TinyRetrieval",
            description="The tiny collection of the tests.",
            dataset={"path": "tests/data/tiny", "revision": "here"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, *_, **__):
            columns = zip(collection.docids, collection.titles, collection.texts, strict=True)
            split = {
                "corpus": Dataset.from_list([{"id": i, "title": "", "text": text} for i, _, text in columns]),
                "queries": Dataset.from_list([{"id": i, "text": text} for i, text in collection.topics.items()]),
                "relevant_docs": {qid: dict(grades) for qid, grades in qrels.items()},
                "top_ranked": None,
            }
            self.dataset, self.data_loaded = {"default": {"test": split}}, True

    return TinyRetrieval()


@pytest.mark.parametrize(
    "student",
    [{}, {"pooling": "mean", "normalise": True, "query_prefix": "sort: ", "passage_prefix": "lists "}],
    ids=["as TAS-B", "mean, normalised, prefixes"],
)
def test_mteb_measures_what_we_measure(task, training_set, collection, tmp_path, monkeypatch, student):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    student = {"model": str(TINY_MODEL), "passage_max_length": 40} | student
    trained = tasb.train(training_set.config(tmp_path, student=student, max_steps=2))
    model = SentenceTransformer(str(trained.model), device="cpu")
    results = mteb.evaluate(model, [task], cache=None, show_progress_bar=False)
    (theirs,) = results.task_results[0].scores["test"]
    passages = tasb.TasbDocumentEncoder(trained.encoder, device="cpu").encode(collection.texts)
    queries = tasb.TasbQueryEncoder(trained.encoder, device="cpu").encode_batch(list(collection.topics.values()))
    run = {
        qid: {collection.docids[n]: float(row[n]) for n in np.argsort(-row)[:100]}
        for qid, row in zip(collection.topics, queries @ passages.T, strict=True)
    }
    ours = tasb.evaluate({"ours": run}, qrels=TINY / "qrels.txt", measures=["nDCG@10", "R@100"])["ours"].overall
    assert 0 < theirs["ndcg_at_10"] < 1
    assert theirs["ndcg_at_10"] == pytest.approx(ours["nDCG@10"], abs=1e-5)  # it rounds to five decimals
    assert theirs["recall_at_100"] == pytest.approx(ours["R@100"], abs=1e-5)
