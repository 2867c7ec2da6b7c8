"""`evaluate` as a function: runs of every kind, and a comparison that prints itself."""

from __future__ import annotations

import json
import logging

import pytest

import pyserini_tasb as tasb
from tests.command_line import tasb as command

TASB, BM25 = "dl19-passage.tasb", "dl19-passage.bm25"
QRELS = {"q1": {"a": 1}, "q2": {"b": 1}}
GOOD = {"q1": {"a": 2.0, "x": 1.0}, "q2": {"b": 1.0}}
POOR = {"q1": {"x": 2.0, "a": 1.0}, "q2": {"x": 1.0}}


@pytest.fixture(scope="module")
def runs():
    return {"dense": tasb.Run.read(TASB), "bm25": tasb.Run.read(BM25)}


def test_print_shows_the_table_that_the_command_prints(capsys):
    comparison = tasb.evaluate([TASB, BM25], qrels="dl19-passage", measures=["nDCG@10"], baseline=BM25)
    assert capsys.readouterr() == ("", "")
    print(comparison)
    ours = capsys.readouterr().out
    command("evaluate", "--qrels", "dl19-passage", "--runs", TASB, BM25, "--measures", "nDCG@10", "--baseline", BM25)
    assert capsys.readouterr().out == ours
    assert ours.splitlines()[:3] == [
        "run                nDCG@10",
        "dl19-passage.tasb  0.7210 +0.2152†",
        "dl19-passage.bm25  0.5058",
    ]


def test_named_runs_and_what_the_comparison_holds(runs):
    comparison = tasb.evaluate(runs, qrels="dl19-passage", measures=["nDCG@10"], baseline="bm25")
    assert repr(comparison).splitlines()[1:] == [
        "dense  0.7210 +0.2152†",
        "bm25   0.5058",
        "",
        "43 queries of dl19-passage; differences to bm25; † p < 0.05 (paired t-test)",
    ]
    assert (comparison.runs, comparison.measures, comparison.baseline) == (["dense", "bm25"], ["nDCG@10"], "bm25")
    assert comparison["bm25"].overall["nDCG@10"] == pytest.approx(0.5058, abs=5e-5)
    assert comparison.tests["nDCG@10"]["dense", "bm25"].significant


@pytest.mark.parametrize(
    "given",
    [
        {"good": GOOD, "poor": POOR},
        {"good": tasb.Run(GOOD), "poor": tasb.Run(POOR).to_pandas("pyterrier")},
        [tasb.Run(GOOD, name="good"), tasb.Run(POOR, name="poor")],
    ],
)
def test_runs_of_every_kind(given):
    for qrels in (QRELS, tasb.Qrels(QRELS), tasb.Qrels(QRELS).to_pandas("ir-measures")):
        comparison = tasb.evaluate(given, qrels=qrels, measures=["RR"])
        assert repr(comparison) == "run   RR\ngood  1.0000\npoor  0.2500\n\n2 queries of qrels"


def test_one_run():
    assert tasb.evaluate(GOOD, qrels=QRELS, measures=["RR"]).runs == ["run 1"]
    assert tasb.evaluate(tasb.Run(GOOD, name="mine"), qrels=QRELS, measures=["RR"]).runs == ["mine"]


def test_runs_of_one_name_are_two_runs():
    comparison = tasb.evaluate([tasb.Run(GOOD), tasb.Run(POOR)], qrels=QRELS, measures=["RR"])
    assert repr(comparison).splitlines()[1:3] == ["run      1.0000", "run (2)  0.2500"]


def test_a_baseline_that_is_no_name():
    good, poor = tasb.Run(GOOD, name="good"), tasb.Run(POOR, name="poor")
    among = tasb.evaluate([good, poor], qrels=QRELS, measures=["RR"], baseline=poor)
    assert (among.runs, among.baseline) == (["good", "poor"], "poor")
    apart = tasb.evaluate([good], qrels=QRELS, measures=["RR"], baseline=poor)
    assert (apart.runs, apart.baseline) == (["poor", "good"], "poor")
    same_name = tasb.evaluate({"poor": good}, qrels=QRELS, measures=["RR"], baseline=poor)
    assert (same_name.runs, same_name.baseline) == (["baseline", "poor"], "baseline")


def test_markdown_html_json_and_data_frames(runs):
    comparison = tasb.evaluate(
        runs, qrels="dl19-passage", measures=["nDCG@10", "RR"], baseline="bm25", per_query=1, details=True,
        topics={"962179": "salvation <army>"},
    )  # fmt: skip
    assert comparison.to_markdown().splitlines()[2].startswith("| dense | 0.7210 +0.2152<sup>†</sup> | ")
    page = comparison._repr_html_()
    assert page.startswith("<table><tr><th>run</th><th>nDCG@10</th><th>RR</th></tr><tr><td>dense</td>")
    assert "<p>43 queries of dl19-passage; differences to bm25; † p &lt; 0.05" in page
    assert "<td>salvation &lt;army&gt;</td>" in page
    document = comparison.to_dict()
    assert json.loads(comparison.to_json()) == json.loads(json.dumps(document))
    assert document["runs"][0]["overall"] == comparison["dense"].overall
    frame = comparison.to_pandas()
    assert list(frame.index) == ["dense", "bm25"]
    assert frame.loc["bm25", "nDCG@10"] == comparison["bm25"].overall["nDCG@10"]
    each = comparison.to_pandas(per_query=True)
    assert each.index.names == ["run", "qid"]
    assert each.loc["dense", "RR"].tolist() == comparison["dense"].per_query["RR"].tolist()


def test_notes_are_logged_and_kept(caplog, capsys):
    caplog.set_level(logging.INFO)
    comparison = tasb.evaluate({"half": {"q1": {"a": 1.0}}}, qrels=QRELS, measures=["RR@5"])
    assert (
        caplog.messages
        == list(comparison.notes)
        == [
            "half lacks 1 of 2 judged queries, which count as 0: q2",
            "half ends at depth 1, which is too short for RR@5",
        ]
    )
    assert capsys.readouterr() == ("", "")


def test_default_measures_follow_the_name_of_the_qrels(runs):
    assert tasb.evaluate(runs, qrels="dl19-passage").measures[0:2] == ["nDCG@10", "AP(rel=2)@1000"]
    assert tasb.evaluate(runs, qrels=dict(tasb.Qrels.read("dl19-passage"))).measures[0:2] == ["nDCG@10", "AP@1000"]


def test_an_msmarco_run_is_evaluated(tmp_path):
    path = tmp_path / "run.tsv"
    path.write_text("q1\tx\t1\nq1\ta\t2\nq2\tb\t1\n")
    assert tasb.evaluate(path, qrels=QRELS, measures=["RR"])[str(path)].overall == {"RR": 0.75}


def test_a_query_s_own_document():
    own = {"q1": {"q1": 9.0, "a": 1.0}, "q2": {"b": 1.0}}
    comparison = tasb.evaluate({"own": own}, qrels=QRELS, measures=["RR"], remove_query=True)
    assert comparison["own"].overall == {"RR": 1.0}
    assert comparison.dropped == {"own": 1}


@pytest.mark.parametrize(
    ("choices", "phrase"),
    [
        ({"test": "t"}, "test= without baseline= or all_pairs=True"),
        ({"details": True}, "details=True without baseline="),
        ({"baseline": "poor", "all_pairs": True}, "baseline= with all_pairs=True"),
        ({"baseline": "poor", "seed": 1}, "seed= without test='randomisation'"),
        ({"baseline": "poor", "test": "wilcoxon"}, "test='wilcoxon', which is none of t, randomisation"),
        ({"per_query": 3}, "per_query= without baseline="),
        ({"topics": {"q1": "text"}}, "topics= without per_query="),
        ({"recall_plot": "a.pdf"}, "recall_plot='a.pdf', which is not named as a PNG"),
        ({"measures": ["nDGC@10"]}, "did you mean `nDCG@10`?"),
        ({"baseline": "absent.txt"}, "no such file"),
        ({"qrels": {"q9": {"a": 1}}}, "queries of the qrels: q9"),
        ({"qrels": 7}, "judgments for qrels="),
        ({"runs": GOOD, "all_pairs": True}, "2 to 25 runs, which all_pairs=True names by letters"),
    ],
)
def test_mistakes_name_the_arguments(choices, phrase):
    with pytest.raises(tasb.TasbError) as caught:
        tasb.evaluate(**{"runs": {"good": GOOD, "poor": POOR}, "qrels": QRELS, "measures": ["RR"], **choices})
    assert phrase in str(caught.value)
