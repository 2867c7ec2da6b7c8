from __future__ import annotations

import json
import random

import ir_measures
import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.formats.run import Run
from tests.conftest import DATA
from tests.evaluation.conftest import printed_by

# From the method's oracles, checked there with pytrec_eval at relevance levels 1 and 2.
ORACLE = json.loads((DATA / "evaluate" / "oracle_metrics.json").read_text())


@pytest.mark.parametrize(
    ("run", "ndcg"),
    [
        ("dl19-passage.tasb", "0.7210"),
        ("dl20-passage.tasb", "0.6854"),
        ("dl19-passage.bm25", "0.5058"),
        ("dl20-passage.bm25", "0.4796"),
    ],
)
def test_published_ndcg(run, ndcg):
    evaluation = evaluate_run(load_run(run), load_qrels(run.partition(".")[0]), ["nDCG@10"])
    assert f"{evaluation.overall['nDCG@10']:.4f}" == ndcg


@pytest.mark.parametrize("binarised_at", [1, 2])
def test_oracle(binarised_at):
    run = {qid: {docid: -float(rank) for rank, docid in enumerate(docids)} for qid, docids in ORACLE["run"].items()}
    names = {"ndcg": "nDCG@10", "mrr": f"RR(rel={binarised_at})@10", "recall": f"R(rel={binarised_at})@1000"}
    evaluation = evaluate_run(run, ORACLE["qrels"], list(names.values()))
    assert evaluation.queries == ("qA", "qB")
    for column, qid in enumerate(evaluation.queries):
        expected = ORACLE[f"per_query_bin{binarised_at}"][qid]
        for (name, value), values in zip(expected.items(), evaluation.per_query.values(), strict=True):
            assert values[column] == pytest.approx(value, abs=1e-9), (qid, name)
    if binarised_at == 2:
        assert list(evaluation.overall.values()) == pytest.approx(list(ORACLE["mean_bin2"].values()), abs=1e-9)


def test_values_follow_the_order_of_the_qrels_and_missing_queries_count_as_zero():
    qrels = {"2": {"a": 1}, "10": {"a": 1}, "1": {"a": 0}, "3": {"a": 1}}
    evaluation = evaluate_run(
        {"3": {"b": 2.0, "a": 1.0}, "2": {"a": 1.0}, "extra": {"a": 1.0}}, qrels, ["RR", "NumRet"]
    )
    assert evaluation.queries == ("2", "10", "1", "3")
    assert evaluation.per_query["RR"].tolist() == [1.0, 0.0, 0.0, 0.5]
    assert evaluation.per_query["RR"].dtype == np.float64
    assert evaluation.overall == {"RR": 0.375, "NumRet": 3.0}
    assert evaluation.missing == ("10", "1")
    assert evaluation.depth == 2


def test_query_without_a_document_is_missing():
    evaluation = evaluate_run({"1": {}, "2": {"a": 1.0}}, {"1": {"a": 1}, "2": {"a": 1}}, ["AP", "Judged@5"])
    assert evaluation.overall == {"AP": 0.5, "Judged@5": 0.5}
    assert evaluation.missing == ("1",)
    with pytest.raises(TasbError, match="none of them"):
        evaluate_run({"1": {}}, {"1": {"a": 1}}, ["AP"])


def test_measure_that_trec_eval_lacks():
    evaluation = evaluate_run({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": 1}, "r": {"a": 1}}, ["Judged@2", "nDCG@10"])
    assert evaluation.per_query["Judged@2"].tolist() == [0.5, 0.0]
    assert list(evaluation.overall) == ["Judged@2", "nDCG@10"]


def test_ids_that_a_provider_rewrites_are_kept_from_it():
    ids = DATA / "evaluate" / "ids"
    run, qrels = load_run(ids / "run.txt"), load_qrels(ids / "qrels.txt")
    evaluation = evaluate_run(run, qrels, ["ERR@10", "nDCG@10"])
    assert evaluation.queries == ("P-1", "q-a", "7")
    assert evaluation.per_query["ERR@10"].tolist() == [0.0625] * 3
    assert evaluation.per_query["nDCG@10"].tolist() == [1.0] * 3


def test_queries_and_documents_that_a_provider_would_take_for_each_other():
    run = {"A-1": {"a 1": 2.0, "a 2": 1.0}, "B-1": {"x": 2.0, "a 1": 1.0}, "C-1": {"10": 1.0, "9": 1.0}}
    qrels = {"B-1": {"a 1": 1}, "absent-1": {"a 1": 1}, "C-1": {"9": 1}, "A-1": {"a 1": 1}}
    evaluation = evaluate_run(run, qrels, ["ERR@10"])
    # gdeval prefers the larger docid among equal scores: "9" to "10".
    assert evaluation.per_query["ERR@10"].tolist() == pytest.approx([1 / 32, 0.0, 1 / 16, 1 / 16], abs=1e-5)


def test_measures_of_the_caller_know_the_ids():
    by_length = ir_measures.define_byquery(lambda _, run: len(run.query_id.iloc[0]), name="Length")
    evaluation = evaluate_run({"long": {"a": 1.0}, "not-judged": {"a": 1.0}}, {"long": {"a": 1}}, [by_length])
    assert evaluation.per_query["Length"].tolist() == [4.0]


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ([("q-1", 1.0), ("1", 1.0)], "Strange of a query `1`, which it was not given"),
        ([("q-1", 1.0), ("q-1", 0.5)], "Strange of query q-1 twice"),
    ],
)
def test_values_of_other_queries_are_refused(returned, found):
    strange = ir_measures.define(lambda *_: returned, name="Strange")
    with pytest.raises(TasbError) as caught:
        evaluate_run({"q-1": {"a": 1.0}}, {"q-1": {"a": 1}}, ["AP", strange])
    assert caught.value.found == found


def test_measure_without_a_value_for_some_query_is_refused():
    qrels = {"q-1": {"a": 1}, "q-2": {"a": 1}}
    with pytest.raises(TasbError, match="Accuracy@10 has no value for q-2"):
        evaluate_run({"q-1": {"b": 2.0, "a": 1.0}, "q-2": {"b": 1.0}}, qrels, ["nDCG@10", "Accuracy@10"])
    with pytest.raises(TasbError, match=r"Accuracy@10: float division by zero"):  # nothing but relevant documents
        evaluate_run({"q-1": {"a": 1.0}}, qrels, ["nDCG@10", "Accuracy@10"])


def test_only_measures_that_nobody_computes_are_named():
    unsupported = "nDCG(dcg='exp-log2',judged_only=True)@10"
    with pytest.raises(TasbError) as caught:
        evaluate_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, ["Judged@10", unsupported, "ERR@10", "nDCG@10"])
    assert caught.value.found == f"{unsupported}: nothing computes it with these parameters"


def test_queries_with_negative_grades_alone_do_not_hang():
    generator = random.Random(0)
    docids = [f"d{number}" for number in range(10)]
    for _ in range(300):  # pytrec_eval comes back from most of them
        ranking = {docid: generator.choice([0.5, 1.0, 7.0]) for docid in generator.sample(docids, 5)}
        judged = {docid: generator.choice([-1, -2]) for docid in generator.sample(docids, 2)}
        evaluation = evaluate_run(
            {"q": ranking}, {"q": judged, "absent": {"d0": 1}}, ["nDCG", "AP@100", "P@5", "NumRet"]
        )
        assert evaluation.overall == {"nDCG": 0, "AP@100": 0, "P@5": 0, "NumRet": 5}


def test_run_of_other_topics_is_an_error_with_examples_of_both():
    with pytest.raises(TasbError) as caught:
        evaluate_run({"007": {"a": 1.0}}, {str(qid): {"a": 1} for qid in range(7, 12)}, ["nDCG@10"], name="mine")
    assert caught.value.where == "mine"
    assert "7, 8, 9, … (5 queries)" in caught.value.expected
    assert "the run has 007" in caught.value.found


# ir-measures' name → trec_eval's arguments and its name in the output
AS_TREC_EVAL = {
    "nDCG@10": (["-m", "ndcg_cut.10"], "ndcg_cut_10"),
    "AP(rel=2)@1000": (["-l", "2", "-m", "map_cut.1000"], "map_cut_1000"),
    "R(rel=2)@1000": (["-l", "2", "-m", "recall.1000"], "recall_1000"),
    "RR(rel=2)@10": (["-l", "2", "-M", "10", "-m", "recip_rank"], "recip_rank"),
    "RR@10": (["-M", "10", "-m", "recip_rank"], "recip_rank"),
    "RR@1": (["-M", "1", "-m", "recip_rank"], "recip_rank"),
}
# Pyserini's own module, started once for all.
TREC_EVAL = """
import json, sys
from pyserini.eval.trec_eval import trec_eval

for arguments in json.load(open(sys.argv[1])):
    trec_eval(["trec_eval", *arguments])
    print("====")
"""


def hard_run(qrels):
    """Ties everywhere, some only in float32; queries missing, queries too many, documents nobody judged."""
    generator = random.Random(7)
    run = {"not-judged": {"a": 1.0}}
    for qid in list(qrels)[4:]:
        docids = [*qrels[qid], *(f"unjudged{i}" for i in range(20))]
        scores = [generator.randrange(8) / 3 + generator.choice([0.0, 1e-12]) for _ in docids]
        run[qid] = dict(zip(docids, scores, strict=True))
    return run


@pytest.mark.usefixtures("suitable_java")
def test_agrees_with_trec_eval_on_every_query(tmp_path):
    hard_qrels = {
        qid: {docid: grade - 1 for docid, grade in judged.items()} for qid, judged in load_qrels("dl20").items()
    }
    hard_qrels["nothing-relevant"] = {"a": 0}
    hard_qrels["negative-alone"] = {"a": -1, "unjudged2": -2}
    cases = {name: (load_run(name), load_qrels(name[:12])) for name in ("dl19-passage.tasb", "dl20-passage.bm25")}
    cases["hard"] = (hard_run(hard_qrels), hard_qrels)
    calls = []
    for name, (run, qrels) in cases.items():
        Run(run).write(tmp_path / f"{name}.run", tag="t")
        lines = [f"{qid} 0 {docid} {grade}\n" for qid, judged in qrels.items() for docid, grade in judged.items()]
        (tmp_path / f"{name}.qrels").write_text("".join(lines))
        files = [str(tmp_path / f"{name}.qrels"), str(tmp_path / f"{name}.run")]
        calls += [["-c", "-q", *arguments, *files] for arguments, _ in AS_TREC_EVAL.values()]
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    outputs = iter(printed_by(TREC_EVAL, tmp_path / "calls.json").split("====\n"))

    for name, (run, qrels) in cases.items():
        evaluation = evaluate_run(run, qrels, list(AS_TREC_EVAL))
        for measure, (_, trec_name) in AS_TREC_EVAL.items():
            rows = [line.split() for line in next(outputs).splitlines()]
            printed = {qid: value for label, qid, value in rows if label == trec_name}
            values = dict(zip(evaluation.queries, evaluation.per_query[measure], strict=True))
            values["all"] = evaluation.overall[measure]
            # trec_eval prints no line for a query that the run lacks or that has nothing relevant.
            assert printed.keys() <= values.keys()
            assert len(printed) > 40
            assert {qid: f"{values[qid]:.4f}" for qid in printed} == printed, (name, measure)
            assert all(values[qid] == 0 for qid in values.keys() - printed.keys())
