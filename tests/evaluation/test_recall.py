"""Rankings, recall at every cutoff and the share of unjudged documents, against ir-measures and by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb.evaluation.comparison import has_negatives, unjudged_share
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.evaluation.recall import recall_curve
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.formats.run_table import ranked_docids

DOCIDS = st.sampled_from("abcdefgh")
RUNS = st.dictionaries(
    st.sampled_from("123"), st.dictionaries(DOCIDS, st.integers(0, 3).map(float), min_size=1), min_size=1
)
QRELS = st.dictionaries(st.sampled_from("1234"), st.dictionaries(DOCIDS, st.integers(-1, 3), min_size=1), min_size=1)


def test_ties_in_fp32_go_to_the_greater_docid():
    assert ranked_docids({"b": 1.0, "a": 2.0, "c": 1.0 + 1e-12, "10": 1.0, "9": 1.0}) == ["a", "c", "b", "9", "10"]
    assert ranked_docids({"a": 1e300, "b": 1e39, "c": 3e38}) == ["b", "a", "c"]
    assert ranked_docids({}) == []


def test_recall_by_hand():
    run = {"1": {"a": 3.0, "x": 2.0, "b": 1.0}, "2": {"y": 2.0, "c": 1.0}, "9": {"z": 1.0}}
    qrels = {"1": {"a": 2, "b": 1}, "2": {"c": 3}, "3": {"d": 2}, "4": {"e": 0}}
    assert recall_curve(run, qrels).tolist() == pytest.approx([0.5 / 4, 1.5 / 4, 2 / 4])
    assert recall_curve(run, qrels, 2).tolist() == pytest.approx([1 / 4, 2 / 4, 2 / 4])
    assert recall_curve({"9": {"z": 1.0}}, qrels).tolist() == []


@settings(max_examples=60)
@given(RUNS, QRELS, st.integers(1, 3))
def test_recall_and_unjudged_are_those_of_ir_measures(run, qrels, grade):
    common = run.keys() & qrels.keys()
    if not common:
        return
    curve = recall_curve(run, qrels, grade)
    deepest = max(len(run[qid]) for qid in common)
    assert len(curve) == deepest
    recalls = [f"R(rel={grade})@{cutoff}" for cutoff in range(1, deepest + 1)]
    assert curve == pytest.approx(list(evaluate_run(run, qrels, recalls).overall.values()))
    # ir-measures' Judged breaks ties the other way, so scores without ties.
    untied = {qid: {docid: score + ord(docid) / 1e3 for docid, score in run[qid].items()} for qid in common}
    evaluation = evaluate_run(untied, qrels, ["Judged@3"])
    judged = dict(zip(evaluation.queries, evaluation.per_query["Judged@3"], strict=True))
    shown = {qid: min(3, len(run[qid])) for qid in common}
    expected = 1 - sum(judged[qid] * shown[qid] for qid in common) / sum(shown.values())
    assert unjudged_share(untied, qrels, 3) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["dl19-passage.tasb", "dl20-passage.bm25"])
def test_recall_of_real_runs(name):
    run, qrels = load_run(name), load_qrels(name.partition(".")[0])
    curve = recall_curve(run, qrels, 2)
    assert len(curve) == 100
    cutoffs = (1, 7, 10, 100)
    measures = evaluate_run(run, qrels, [f"R(rel=2)@{cutoff}" for cutoff in cutoffs])
    assert [curve[cutoff - 1] for cutoff in cutoffs] == pytest.approx(list(measures.overall.values()))


def test_recall_ends_at_1000():
    docids = [f"d{number:04}" for number in range(1_100)]
    random.Random(0).shuffle(docids)
    run = {"1": {docid: -float(rank) for rank, docid in enumerate(docids)}}
    curve = recall_curve(run, {"1": {docids[999]: 1, docids[1_000]: 1}})
    assert (len(curve), curve[998], curve[999]) == (1_000, 0, 0.5)


def test_unjudged_by_hand():
    run = {"1": {"a": 3.0, "x": 2.0, "b": 1.0}, "2": {"c": 1.0}, "9": {"z": 1.0}}
    qrels = {"1": {"a": 0, "b": 1}, "2": {"d": 1}, "3": {"a": 1}}
    assert unjudged_share(run, qrels, 2) == pytest.approx(2 / 3)
    assert unjudged_share(run, qrels, 10) == pytest.approx(2 / 4)


def test_where_a_missing_judgment_says_little():
    assert has_negatives(load_qrels("dl19-passage"))
    assert not has_negatives(load_qrels("msmarco-passage-dev-subset"))
