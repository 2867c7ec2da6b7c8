from __future__ import annotations

import numpy as np
import pytest

from pyserini_tasb.evaluation.comparison import QueryChange, largest_changes
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.evaluation.significance import (
    against_baseline,
    better_than,
    each_against_each,
    paired_test,
    paired_tests,
)

QUERIES = [f"q{number}" for number in range(12)]
QRELS = {qid: {"a": 1, "b": 1} for qid in QUERIES}


def evaluation(name, ranks):
    """One relevant document for each query, at that rank."""
    run = {
        qid: {**{f"x{above}": -float(above) for above in range(1, rank)}, "a": -float(rank)}
        for qid, rank in zip(QUERIES, ranks, strict=True)
    }
    return evaluate_run(run, QRELS, ["RR", "R@2"], name=name)


@pytest.fixture
def evaluations():
    good, fair, poor = [1, 1, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1], [2, 2, 2, 2, 1, 2, 2, 1, 2, 2, 2, 2], [5, 7] * 6
    return [evaluation("poor", poor), evaluation("good", good), evaluation("fair", fair)]


def test_against_a_baseline(evaluations):
    poor, good, fair = evaluations
    tests = against_baseline(evaluations, "fair")
    assert list(tests) == ["RR", "R@2"]
    values = {name: each.per_query["RR"] for name, each in zip(("poor", "good", "fair"), evaluations, strict=True)}
    assert tests["RR"] == paired_tests(
        {("poor", "fair"): (values["poor"], values["fair"]), ("good", "fair"): (values["good"], values["fair"])}
    )
    assert tests["RR"]["good", "fair"].p == paired_test(good.per_query["RR"], fair.per_query["RR"]).p
    assert tests["R@2"]["good", "fair"].ties == 12
    assert against_baseline([poor], "poor") == {"RR": {}, "R@2": {}}


def test_all_pairs_are_corrected_together_and_read_in_both_directions(evaluations):
    tests = each_against_each(evaluations, "randomisation", 1)["RR"]
    assert list(tests) == [("poor", "good"), ("poor", "fair"), ("good", "fair")]
    assert all(test.test == "randomisation" for test in tests.values())
    assert tests["poor", "good"].p_holm == pytest.approx(3 * 2 / 2**12)
    assert [sorted(better_than(tests, name)) for name in ("poor", "good", "fair")] == [[], ["fair", "poor"], ["poor"]]
    recall = each_against_each(evaluations)["R@2"]
    assert better_than(recall, "good") == better_than(recall, "fair") == {"poor"}


def test_queries_that_changed_most(evaluations):
    poor, good, fair = evaluations
    changes = largest_changes(poor, good, "RR", 3, {"q1": "what is q1"})
    assert changes == [
        QueryChange("q1", "what is q1", pytest.approx(1 / 7), 1),
        QueryChange("q3", None, pytest.approx(1 / 7), 1),
        QueryChange("q5", None, pytest.approx(1 / 7), 1),
    ]
    # Gains and losses alike; queries without a difference never.
    assert {change.qid for change in largest_changes(fair, good, "RR", 100)} == set(QUERIES) - {"q2", "q4"}
    assert largest_changes(fair, good, "R@2", 5) == []
    differences = [abs(change.value - change.baseline) for change in largest_changes(poor, fair, "RR", 12)]
    assert np.all(np.diff(differences) <= 0)
