from __future__ import annotations

from pyserini_tasb.reranking.rerank import timing_summary


def test_all_queries():
    found = timing_summary([1000, 200, 100], [0.1, 0.3, 0.5])
    assert found == (
        "3 queries, 1,300 passages; 300.0 ms per query on average, median 300.0, 95th percentile 480.0; "
        "1,444 passages per second"
    )


def test_times_are_of_the_last_queries():
    found = timing_summary([1000, 200, 100], [0.1, 0.2])
    assert found == (
        "3 queries, 1,300 passages; 1 of the queries finished by an earlier run; 150.0 ms per query on average, "
        "median 150.0, 95th percentile 195.0; 1,000 passages per second"
    )


def test_nothing_was_left_to_do():
    assert timing_summary([2, 1], []) == "2 queries, 3 passages; 2 of the queries finished by an earlier run"
