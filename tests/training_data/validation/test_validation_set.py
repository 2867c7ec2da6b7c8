from __future__ import annotations

import math
import shutil

import numpy as np
import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.data.validation_building import ValidationOptions, build_validation_set
from pyserini_tasb.data.validation_set import ValidationSet
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.text_store import write_text_store
from tests.conftest import TINY_MODEL, plain_vectors

MEASURES = ("nDCG@10", "RR@10", "AP@100", "R@5")


def vectors_of(validation):
    queries = validation.queries.texts(range(len(validation.queries)))
    passages = validation.passages.texts(range(len(validation.passages)))
    return plain_vectors(TINY_MODEL, queries), plain_vectors(TINY_MODEL, passages, 256)


def measured(validation, vectors, measure):
    return validation.measure(validation.products(*vectors), measure)


def test_the_baselines_own_vectors_give_the_baselines_numbers(tmp_path, sources):
    """With all passages as candidates the set is the collection: the model that made the run measures as the run."""
    validation = build_validation_set(tmp_path / "set", **sources, options=ValidationOptions(depth=123))
    judged = {qid: sources["qrels"][qid] for qid in sources["topics"] if qid in sources["qrels"]}
    expected = evaluate_run(sources["run"], judged, MEASURES).overall
    vectors = vectors_of(validation)
    for measure in MEASURES:
        assert validation.measure(validation.products(*vectors), measure) == pytest.approx(
            expected[measure], abs=1e-12
        ), measure
        assert validation.baseline(measure) == pytest.approx(expected[measure], abs=1e-12), measure
    assert 0 < expected["nDCG@10"] < 1


def test_only_candidates_are_ranked(tmp_path, sources):
    validation = build_validation_set(tmp_path / "set", **sources, options=ValidationOptions(depth=7))
    scores = sources["run"]
    candidates = {
        qid: {
            docid: scores[qid][docid]
            for docid in {*sorted(scores[qid], key=lambda docid, qid=qid: -scores[qid][docid])[:7], *judged}
        }
        for qid, judged in sources["qrels"].items()
        if qid in sources["topics"]
    }
    run = validation.run(validation.products(*vectors_of(validation)))
    assert run.keys() == candidates.keys()
    for qid, expected in candidates.items():
        assert run[qid] == pytest.approx(expected, abs=1e-4)
    for measure in MEASURES:
        expected = evaluate_run(candidates, validation.qrels, [measure]).overall[measure]
        assert validation.measure(validation.products(*vectors_of(validation)), measure) == pytest.approx(
            expected, abs=1e-12
        )
    assert {len(ranking) for ranking in validation.baseline_run.values()} == {7}
    assert (
        validation.measure(validation.products(*vectors_of(validation)), "R@100") == 1
    )  # every relevant passage is a candidate
    assert validation.description["candidates_added"] == len(validation.candidates) - 7 * len(validation.queries)


def test_each_passage_is_there_once_and_in_the_order_of_the_collection(tmp_path, sources, collection):
    validation = build_validation_set(tmp_path / "set", **sources, options=ValidationOptions(depth=7))
    docids = validation.passages.ids(range(len(validation.passages)))
    texts = dict(zip(collection.docids, zip(collection.titles, collection.texts, strict=True), strict=True))
    wanted = {docid for ranking in validation.baseline_run.values() for docid in ranking}
    wanted |= {docid for judged in validation.qrels.values() for docid in judged}
    assert docids == [docid for docid in collection.docids if docid in wanted]
    assert len(docids) < len(collection.docids)
    for docid, text in validation.passages:
        assert text == " ".join(texts[docid])


def test_ties_are_broken_as_trec_eval_does(tmp_path, sources):
    validation = build_validation_set(tmp_path / "set", **sources, options=ValidationOptions(depth=20))
    same = np.ones((len(validation.queries), 4), np.float32), np.ones((len(validation.passages), 4), np.float32)
    tied = {qid: dict.fromkeys(ranking, 1.0) for qid, ranking in validation.run(validation.products(*same)).items()}
    assert (
        validation.measure(validation.products(*same))
        == evaluate_run(tied, validation.qrels, ["nDCG@10"]).overall["nDCG@10"]
    )
    best = [max(ranking) in validation.qrels[qid] for qid, ranking in tied.items()]
    assert validation.measure(validation.products(*same), "P@1") == pytest.approx(np.mean(best))


def test_broken_vectors_are_not_a_number(tmp_path, sources):
    validation = build_validation_set(tmp_path / "set", **sources, options=ValidationOptions(depth=7))
    queries, passages = vectors_of(validation)
    passages[3, 0] = np.nan
    assert math.isnan(validation.measure(validation.products(queries, passages)))
    passages[3, 0] = np.inf
    assert math.isnan(validation.measure(validation.products(queries, passages)))
    with pytest.raises(ValueError, match="vectors of 10 queries"):
        validation.measure(validation.products(queries[1:], passages))


def test_stands_on_its_own_and_can_be_moved(tmp_path, sources):
    store = write_text_store(tmp_path / "store", sources["passages"])
    built = build_validation_set(
        tmp_path / "a", **{**sources, "passages": store}, options=ValidationOptions(depth=7), sources={"run": "mine"}
    )
    shutil.rmtree(tmp_path / "store")
    vectors, fingerprint = vectors_of(built), built.fingerprint
    before = built.measure(built.products(*vectors))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = ValidationSet(tmp_path / "b")
    assert moved.measure(moved.products(*vectors)) == before
    assert moved.fingerprint == fingerprint
    assert moved.description["sources"] == {"run": "mine"}


def test_same_input_and_seed_give_the_same_bytes(tmp_path, sources):
    options = ValidationOptions(size=4, depth=7, seed=3)
    store = write_text_store(tmp_path / "store", sources["passages"])
    first = build_validation_set(tmp_path / "a", **sources, options=options)
    build_validation_set(tmp_path / "b", **{**sources, "passages": store}, options=options)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 8
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    other = build_validation_set(tmp_path / "c", **sources, options=ValidationOptions(size=4, depth=7, seed=4))
    assert other.queries.ids(range(4)) != first.queries.ids(range(4))
    assert other.fingerprint != first.fingerprint


def test_stratified(tmp_path, sources):
    options = ValidationOptions(size=4, sampling="stratified", strata=2, depth=7)
    validation = build_validation_set(tmp_path / "set", **sources, options=options)
    judged = {qid: sources["qrels"][qid] for qid in sources["topics"] if qid in sources["qrels"]}
    evaluation = evaluate_run(sources["run"], judged, ["RR@10"])
    values = dict(zip(evaluation.queries, evaluation.per_query["RR@10"], strict=True))
    half = (min(values.values()) + max(values.values())) / 2
    high = sum(value >= half for value in values.values())
    sampled = [values[qid] >= half for qid in validation.queries.ids(range(len(validation.queries)))]
    assert (sampled.count(False), sampled.count(True)) == (min(2, len(values) - high), min(2, high))
    counts = validation.description["strata"]
    assert counts[1] == {"queries": high, "sampled": sampled.count(True)}


def test_candidates_without_text_are_named(tmp_path, sources, collection):
    incomplete = [record for record in sources["passages"] if record[0] not in {"CACM-1410", "CACM-1605"}]
    store = write_text_store(tmp_path / "store", incomplete)
    for passages in (incomplete, store):
        with pytest.raises(TasbError) as caught:
            build_validation_set(tmp_path / "set", **{**sources, "passages": passages})
        assert "none for 2 of 123 passages" in caught.value.found
        assert {"CACM-1410", "CACM-1605"} <= set(caught.value.found.replace(",", " ").split())
        assert not (tmp_path / "set").exists()


def test_a_passage_twice_in_the_collection(tmp_path, sources):
    twice = [*sources["passages"], ("CACM-1410", "another text")]
    with pytest.raises(TasbError, match="CACM-1410"):
        build_validation_set(tmp_path / "set", **{**sources, "passages": twice})


def test_nothing_is_overwritten_unasked(tmp_path, sources):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(TasbError):
            build_validation_set(tmp_path / "set", **sources, overwrite=overwrite)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["thesis.txt"]


def test_damaged_and_other_folders(tmp_path, sources):
    built = build_validation_set(tmp_path / "set", **sources, options=ValidationOptions(depth=7))
    with pytest.raises(TasbError, match="a validation set"):
        ValidationSet(built.folder / "queries")
    with (built.folder / "candidates.npy").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(TasbError, match=r"candidates\.npy"):
        ValidationSet(built.folder)


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"depth": 0}, "hits=0"),
        ({"size": 0}, "queries_sampled=0"),
        ({"strata": -1}, "strata=-1"),
        ({"min_relevance": 0}, "min_relevance=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_options_out_of_range(wrong, argument):
    with pytest.raises(TasbError, match=argument):
        ValidationOptions(**wrong)
