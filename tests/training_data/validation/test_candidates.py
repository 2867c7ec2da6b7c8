from __future__ import annotations

import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.data.validation_building import find_candidates, usable_queries

RANKING = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 2.0, "e": 0.5}


def test_best_of_the_run_and_every_relevant_passage():
    found = find_candidates(RANKING, {"e": 1, "b": 2, "new": 1, "c": 0, "a": 0}, depth=3, min_relevance=1)
    assert found.docids == ["b", "d", "c", "e", "new"]  # ties: the higher docid first, as trec_eval
    assert found.retrieved == {"b": 3.0, "d": 2.0, "c": 2.0}
    assert found.added == ["e", "new"]
    assert found.grades == {"e": 1, "b": 2, "new": 1, "c": 0}


def test_lowest_relevant_grade():
    found = find_candidates(RANKING, {"e": 1, "new": 2, "b": 1}, depth=1, min_relevance=2)
    assert found.docids == ["b", "new"]
    assert found.grades == {"new": 2, "b": 1}


def test_short_ranking():
    assert find_candidates({"a": 1.0}, {"a": 1}, depth=100, min_relevance=1).docids == ["a"]


def test_usable_queries_and_why_others_are_not():
    usable = usable_queries(
        topics={"9": "text", "1": "text", "2": "text", "not judged": "text"},
        qrels={"1": {"a": 1}, "2": {"a": 1}, "3": {"a": 1}, "4": {"a": 0}, "9": {"a": 1}},
        run={"1": {"a": 1.0}, "2": {}, "9": {"b": 1.0}},
        min_relevance=1,
    )
    assert usable.qids == ["9", "1"]
    assert usable.left_out == {"no relevant passage": 1, "not among the topics": 1, "no results in the run": 1}


def test_run_of_other_topics():
    with pytest.raises(TasbError) as caught:
        usable_queries({"1": "text"}, {"1": {"a": 1}}, {f"q{number}": {"a": 1.0} for number in range(5)}, 1)
    assert "the run q0, q1, q2, … (5 queries)" in caught.value.found
    with pytest.raises(TasbError, match=r"the qrels 1 \(0 with such a passage\)"):
        usable_queries({"1": "text"}, {"1": {"a": 1}}, {"1": {"a": 1.0}}, min_relevance=2)
