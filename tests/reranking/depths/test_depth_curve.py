"""The run at a depth is the one that re-ranking to that depth makes; how deep scores reach."""

from __future__ import annotations

import random

import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.reranking.depths import NamedRun, at_depth, depth_curve
from pyserini_tasb.reranking.rerank import rerank_queries
from tests.reranking.fakes import LengthScorer

DOCIDS = [f"d{number}" for number in range(30)]
FIRST = {qid: {docid: float(n) for n, docid in enumerate(random.Random(qid).sample(DOCIDS, 30))} for qid in "pqr"}
TEXTS = {docid: "x" * random.Random(docid).randint(1, 9) for docid in DOCIDS}  # some scores are equal
QRELS = {qid: {docid: random.Random(qid + docid).randint(0, 3) for docid in DOCIDS} for qid in "pqr"}


def reranked_to(depth, *, keep_rest=False):
    queries = rerank_queries(FIRST, dict.fromkeys("pqr", "q"), TEXTS, LengthScorer(), depth, keep_rest=keep_rest)
    return {query.qid: dict(zip(query.docids, query.scores.tolist(), strict=True)) for query in queries}


def curve_of(reranked, depths, first=FIRST):
    return depth_curve(NamedRun("first", first), NamedRun("second", reranked), QRELS, "nDCG@10", depths)


@pytest.mark.parametrize("depth", [1, 7, 20, 30, 99])
def test_one_pass_is_as_good_as_one_for_each_depth(depth):
    there = at_depth(FIRST, reranked_to(30), depth)
    again = reranked_to(depth, keep_rest=True)
    assert {qid: ranked_docids(scores) for qid, scores in there.items()} == {
        qid: ranked_docids(scores) for qid, scores in again.items()
    }


def test_values():
    curve = curve_of(reranked_to(30), [5, 10, 30])
    assert list(curve.values) == [5, 10, 30]
    for depth, value in curve.values.items():
        again = reranked_to(depth, keep_rest=True)
        assert value == evaluate_run(again, QRELS, ["nDCG@10"]).overall["nDCG@10"]
    assert curve.before == evaluate_run(FIRST, QRELS, ["nDCG@10"]).overall["nDCG@10"]
    assert len({curve.before, *curve.values.values()}) == 4


def test_depths_that_no_score_reaches_are_left_out():
    assert list(curve_of(reranked_to(12), [5, 10, 20, 50]).values) == [5, 10]
    assert list(curve_of(reranked_to(30), [10, 30, 50]).values) == [10, 30]  # no query has more


def test_a_query_with_few_passages_holds_nobody_up():
    short = FIRST | {"r": dict(list(FIRST["r"].items())[:3])}
    reranked = reranked_to(30)
    assert list(curve_of(reranked | {"r": {d: reranked["r"][d] for d in short["r"]}}, [5, 30], short).values) == [5, 30]


def without_a_query():
    return {qid: scores for qid, scores in reranked_to(30).items() if qid != "q"}


def without_the_best():
    reranked = reranked_to(30)
    del reranked["q"][ranked_docids(FIRST["q"])[0]]
    return reranked


def too_shallow():
    return reranked_to(4)


@pytest.mark.parametrize(("reranked", "reach"), [(without_a_query, 0), (without_the_best, 0), (too_shallow, 4)])
def test_no_re_ranking_of_this_run(reranked, reach):
    with pytest.raises(TasbError, match=rf"top 5 of every query\n +found: +scores of only the top {reach}\n"):
        curve_of(reranked(), [5, 10])


def test_real_runs():
    """TAS-B's order of BM25's top 100, where it has one: its scores serve as a re-ranker's."""
    bm25, tasb, qrels = load_run("dl19-passage.bm25"), load_run("dl19-passage.tasb"), load_qrels("dl19-passage")
    both = {qid: {d: s for d, s in ranking.items() if d in tasb[qid]} for qid, ranking in bm25.items()}
    scored = {qid: {docid: tasb[qid][docid] for docid in ranking} for qid, ranking in both.items()}
    curve = depth_curve(NamedRun("bm25", both), NamedRun("tasb", scored), qrels, "nDCG@10", [10, 20, 50])
    assert curve.values[50] > curve.values[20] > curve.values[10] > curve.before
