"""The library's function: what is scored, in which order it comes back, what is refused."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.reranking.rerank import rerank_queries, top_of_run
from tests.reranking.fakes import FixedScorer, LengthScorer

RUN = {"q2": {"a": 3.0, "b": 2.0, "c": 4.0, "d": 1.0}, "q10": {"d": 1.0, "b": 2.0}}
TOPICS = {"q1": "unused", "q10": "ten", "q2": "two"}
PASSAGES = {"a": "1", "b": "55555", "c": "333", "d": "4444", "e": "unused"}


def test_the_top_is_scored_and_sorted_by_the_new_scores():
    scorer = LengthScorer()
    found = list(rerank_queries(RUN, TOPICS, PASSAGES, scorer, depth=3))
    assert [(query.qid, query.docids) for query in found] == [("q2", ["b", "c", "a"]), ("q10", ["b", "d"])]
    assert [query.scores.tolist() for query in found] == [[5, 3, 1], [5, 4]]
    assert {query.scores.dtype for query in found} == {np.dtype(np.float32)}
    assert scorer.queries == [{"two"}, {"ten"}]
    assert scorer.passages == [["333", "1", "55555"], ["55555", "4444"]]  # d of q2 lies below the depth


def test_each_query_is_scored_when_it_is_asked_for():
    scorer = LengthScorer()
    queries = rerank_queries(RUN, TOPICS, PASSAGES, scorer, depth=3)
    assert scorer.queries == []
    next(queries)
    assert scorer.queries == [{"two"}]


def test_equal_new_scores_have_the_greater_docid_first():
    (query,) = rerank_queries(
        {"q": dict.fromkeys("acb", 1.0)}, {"q": "q"}, dict.fromkeys("abc", "x"), FixedScorer(7, 7, 7), 3
    )
    assert query.docids == ["c", "b", "a"]


def test_equal_first_scores_have_the_greater_docid_first():
    assert top_of_run({"q": {"d9": 1.0, "d10": 1.0, "d8": 1.0, "x": 0.5}}, 2) == {"q": ["d9", "d8"]}


def test_first_scores_are_equal_where_they_are_to_trec_eval():
    """In fp32, that is; by the whole numbers `a` would be first."""
    assert top_of_run({"q": {"a": 1.000000001, "b": 1.0}}, 1) == {"q": ["b"]}
    assert top_of_run({"q": {"a": 1.000001, "b": 1.0}}, 1) == {"q": ["a"]}
    assert top_of_run({"q": {"a": 1e300, "b": 1.0}}, 1) == {"q": ["a"]}


@pytest.mark.parametrize("run", [{}, {"q": {}}])
def test_an_empty_run(run):
    with pytest.raises(TasbError, match="a run with documents"):
        rerank_queries(run, {"q": "q"}, {}, LengthScorer(), depth=1)


@pytest.mark.parametrize("depth", [0, -1])
def test_a_depth_below_one(depth):
    with pytest.raises(TasbError, match=rf"1 or more\n +found: +{depth}\n"):
        rerank_queries(RUN, TOPICS, PASSAGES, LengthScorer(), depth)


def test_queries_without_a_topic_are_counted_and_the_first_named():
    run = {f"q{number}": {"a": 1.0} for number in range(8)}
    with pytest.raises(TasbError, match=r"8 of them(?s:.*)2 topics, and none for 7 \(q1, q2, q3, q4, q5, …\)"):
        rerank_queries(run, {"q0": "text", "q1": " "}, PASSAGES, LengthScorer(), 1)


def test_passages_without_text_are_counted_and_the_first_named():
    run = {"q": {"a": 9.0, "x": 8.0, "y": 7.0, "below": 1.0}, "p": {"x": 1.0, "e": 0.5}}
    found = r"texts of the run's passages, 4 of them(?s:.*)2 \(x, y\) not in the collection; 1 \(e\) without text"
    with pytest.raises(TasbError, match=found):
        rerank_queries(run, {"q": "q", "p": "p"}, {"a": "text", "e": " "}, LengthScorer(), 3)


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_no_numbers(score):
    queries = rerank_queries(RUN, TOPICS, PASSAGES, FixedScorer(1, score, score), 3)
    with pytest.raises(TasbError, match=rf"query q2\n(?s:.*)2 of 3 that are not, such as {score} of a\n"):
        next(queries)


def test_seconds_are_those_of_the_query():
    class SlowScorer(LengthScorer):
        def score_pairs(self, *sides):
            time.sleep(0.2 if not self.queries else 0)
            return super().score_pairs(*sides)

    slow, fast = rerank_queries(RUN, TOPICS, PASSAGES, SlowScorer(), depth=3)
    assert slow.seconds >= 0.2 > fast.seconds > 0
