from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.evaluation.recall import recall_curve, recall_figure
from pyserini_tasb.evaluation.significance import paired_test
from pyserini_tasb.formats.named import load_qrels, load_run, load_topics
from pyserini_tasb.plots import as_png
from tests.command_line import tasb
from tests.conftest import DATA

DL19 = ("evaluate", "--qrels", "dl19-passage", "--runs")


def test_headline_table_with_defaults_and_baseline(capsys):
    assert tasb(*DL19, "dl19-passage.tasb", "dl19-passage.bm25", "--baseline", "dl19-passage.bm25") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "run                nDCG@10          AP(rel=2)@1000   R(rel=2)@1000    RR(rel=2)@10",
        "dl19-passage.tasb  0.7210 +0.2152†  0.4050 +0.1574†  0.6097 +0.1186†  0.8754 +0.1730†",
        "dl19-passage.bm25  0.5058           0.2476           0.4910           0.7024",
        "",
        "43 queries of dl19-passage; differences to dl19-passage.bm25; † p < 0.05 (paired t-test)",
    ]
    assert printed.err.splitlines()[0].endswith(
        "dl19-passage.tasb ends at depth 100, which is too short for AP(rel=2)@1000, R(rel=2)@1000"
    )


def test_baseline_that_is_not_among_the_runs_comes_first(capsys):
    assert tasb(*DL19, "dl19-passage.tasb", "--baseline", "dl19-passage.bm25", "--measures", "nDCG@10") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "run                nDCG@10",
        "dl19-passage.bm25  0.5058",
        "dl19-passage.tasb  0.7210 +0.2152†",
    ]


def test_without_baseline_there_is_no_legend_and_a_run_named_twice_counts_once(capsys):
    assert tasb(*DL19, "dl19-passage.tasb", "dl19-passage.tasb", "--measures", "nDCG@10") == 0
    assert (
        capsys.readouterr().out
        == "run                nDCG@10\ndl19-passage.tasb  0.7210\n\n43 queries of dl19-passage\n"
    )


@pytest.fixture
def one_query(tmp_path, monkeypatch):
    """Two judged queries; one run has both, another the first only; every difference is the same for the third."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qrels.txt").write_text("007 0 a 1\n008 0 a 1\n")
    (tmp_path / "all.run").write_text("007 Q0 a 1 1 t\n008 Q0 a 1 1 t\n")
    (tmp_path / "half.run").write_text("007 Q0 a 1 1 t\n")
    (tmp_path / "none.run").write_text("007 Q0 b 1 1 t\n008 Q0 b 1 1 t\n")


@pytest.mark.usefixtures("one_query")
def test_json_is_valid_and_complete(capsys):
    runs = ["--runs", "half.run", "none.run", "--baseline", "all.run", "--measures", "RR@10", "--json"]
    assert tasb("evaluate", "--qrels", "qrels.txt", *runs) == 0

    def refuse(constant):
        raise AssertionError(constant)

    document = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert (document["qrels"], document["queries"], document["baseline"]) == ("qrels.txt", 2, "all.run")
    assert [run["run"] for run in document["runs"]] == ["all.run", "half.run", "none.run"]
    assert document["versions"].keys() == {"pyserini-tasb", "ir-measures", "pytrec-eval-terrier", "scipy"}
    base, half, none = document["runs"]
    assert base["per_query"] == {"RR@10": {"007": 1.0, "008": 1.0}}
    assert base["against_baseline"] == {}
    assert (half["overall"], half["missing_queries"], half["depth"]) == ({"RR@10": 0.5}, ["008"], 1)
    test = none["against_baseline"]["RR@10"]
    assert (test["difference"], test["t"], test["p"], test["p_holm"], test["losses"]) == (-1.0, None, 0.0, 0.0, 2)


@pytest.mark.usefixtures("one_query")
def test_queries_that_a_run_lacks_are_noted(capsys):
    assert tasb("evaluate", "--qrels", "qrels.txt", "--runs", "all.run", "half.run", "--measures", "AP") == 0
    printed = capsys.readouterr()
    assert printed.err == "tasb evaluate: note: half.run lacks 1 of 2 judged queries, which count as 0: 008\n"


def test_json_holds_the_value_of_every_query_and_the_whole_test(capsys):
    assert tasb(*DL19, "dl19-passage.tasb", "--baseline", "dl19-passage.bm25", "--measures", "nDCG@10", "--json") == 0
    bm25, dense = json.loads(capsys.readouterr().out)["runs"]
    qrels = load_qrels("dl19-passage")
    expected = [evaluate_run(load_run(run["run"]), qrels, ["nDCG@10"]).per_query["nDCG@10"] for run in (bm25, dense)]
    for run, values in zip((bm25, dense), expected, strict=True):
        assert list(run["per_query"]["nDCG@10"]) == list(qrels)
        assert np.array_equal(list(run["per_query"]["nDCG@10"].values()), values)
    test = paired_test(expected[1], expected[0])
    assert dense["against_baseline"]["nDCG@10"] == vars(test) | {"interval": list(test.interval)}
    assert test.p < 1e-5
    assert test.wins + test.ties + test.losses == test.n == 43


@pytest.mark.usefixtures("one_query")
def test_significance_over_several_runs_is_corrected_and_says_so(capsys):
    runs = ["--runs", "half.run", "none.run", "--baseline", "all.run", "--measures", "RR"]
    assert tasb("evaluate", "--qrels", "qrels.txt", *runs) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["half.run  0.5000 -0.5000", "none.run  0.0000 -1.0000†"]
    assert lines[-1].endswith("† p < 0.05 (paired t-test, Holm-corrected for 2 runs)")


@pytest.mark.usefixtures("one_query")
def test_table_on_a_terminal_without_unicode(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    tasb("evaluate", "--qrels", "qrels.txt", "--runs", "none.run", "--baseline", "all.run", "--measures", "RR")
    stdout.flush()
    assert b"-1.0000*\n" in stdout.buffer.getvalue()
    assert b"* p < 0.05" in stdout.buffer.getvalue()


@pytest.fixture
def three_runs(tmp_path, monkeypatch):
    """Eight judged queries: the relevant document comes first, second, or fifth or sixth; `poor` has another query."""
    monkeypatch.chdir(tmp_path)
    qids = [f"q{number}" for number in range(8)]
    (tmp_path / "qrels.txt").write_text("".join(f"{qid} 0 a 1\n{qid} 0 b 0\n" for qid in qids))
    (tmp_path / "topics.tsv").write_text("".join(f"{qid}\twhat | is {qid}\n" for qid in qids))
    (tmp_path / "good.run").write_text("".join(f"{qid} Q0 a 1 2 t\n{qid} Q0 b 2 1 t\n" for qid in qids))
    (tmp_path / "fair.run").write_text("".join(f"{qid} Q0 b 1 2 t\n{qid} Q0 a 2 1 t\n" for qid in qids))
    poor = [f"{qid} Q0 x{rank} {rank} {9 - rank} t\n" for qid in qids for rank in range(1, 5 + int(qid[1]) % 2)]
    right = [f"{qid} Q0 a 9 1 t\n" for qid in qids]
    (tmp_path / "poor.run").write_text("".join([*poor, *right, "other Q0 a 1 1 t\n"]))


def evaluate(*arguments):
    return ["evaluate", "--qrels", "qrels.txt", "--runs", "good.run", "fair.run", "poor.run", *arguments]


@pytest.mark.usefixtures("three_runs")
def test_letters_name_the_runs_that_a_run_is_better_than(capsys):
    assert tasb(*evaluate("--all-pairs", "--measures", "RR", "Success@1", "--test", "randomisation")) == 0
    how = "p < 0.05 (randomisation test, Holm-corrected for 3 pairs)"
    assert capsys.readouterr().out.splitlines() == [
        "   run       RR        Success@1",
        "a  good.run  1.0000ᵇᶜ  1.0000ᵇᶜ",
        "b  fair.run  0.5000ᶜ   0.0000",
        "c  poor.run  0.1833    0.0000",
        "",
        f"8 queries of qrels.txt; ᵃᵇᶜ better than that run, {how}",
    ]


@pytest.mark.usefixtures("three_runs")
def test_terminal_without_unicode(monkeypatch, tmp_path):
    (tmp_path / "topics.tsv").write_text("q0\tthé\n", encoding="utf-8")
    per_query = ["--baseline", "good.run", "--per-query", "1", "--topics", "topics.tsv", "--markdown"]
    for arguments, expected in (
        (["--all-pairs"], (b"1.0000^bc\n", b"; ^abc better")),
        (per_query, (rb"| 0.5000 -0.5000<sup>\*</sup> |", rb"th\xe9")),
    ):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", stdout)
        tasb(*evaluate("--measures", "RR", *arguments))
        stdout.flush()
        assert all(part in stdout.buffer.getvalue() for part in expected)


@pytest.mark.usefixtures("three_runs")
def test_markdown(capsys):
    assert tasb(*evaluate("--all-pairs", "--measures", "RR", "--markdown", "--unjudged")) == 0
    assert capsys.readouterr().out.splitlines()[:5] == [
        "|  | run | RR | unjudged@10 |",
        "| --- | --- | --- | --- |",
        "| a | good.run | 1.0000<sup>bc</sup> | 0.0% |",
        "| b | fair.run | 0.5000<sup>c</sup> | 0.0% |",
        "| c | poor.run | 0.1833 | 81.8% |",
    ]
    per_query = ["--per-query", "1", "--topics", "topics.tsv"]
    assert tasb(*evaluate("--baseline", "good.run", "--measures", "RR", "--markdown", *per_query)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| fair.run | 0.5000 -0.5000<sup>†</sup> |" in lines
    assert "**RR, where poor.run differs most from good.run**" in lines
    assert lines[-1] == r"| q1 | 0.1667 | 1.0000 | -0.8333 | what \| is q1 |"


@pytest.mark.usefixtures("three_runs")
def test_details_of_every_comparison(capsys):
    assert tasb(*evaluate("--baseline", "good.run", "--measures", "RR", "Success@1", "--details")) == 0
    details = capsys.readouterr().out.partition("RR:\n\n")[2].splitlines()
    test = paired_test([1 / 5, 1 / 6] * 4, [1] * 8)
    low, high = test.interval
    assert details[0].split("  ")[0] == "run"
    assert details[1].split() == [
        "fair.run",
        "good.run",
        "-0.5000",
        "-0.5000",
        "to",
        "-0.5000",
        "-inf",
        "0",
        "0",
        "0/0/8",
    ]
    assert details[2].split() == [
        "poor.run", "good.run", "-0.8167", f"{low:+.4f}", "to", f"{high:+.4f}", f"{test.effect_size:+.2f}",
        f"{test.p:.2g}", f"{test.p:.2g}", "0/0/8",
    ]  # fmt: skip
    assert details[4] == "Success@1:"
    assert details[-1].startswith("p of the paired t-test; the interval is Student's")


def test_queries_that_changed_most_with_the_texts_of_bundled_topics(capsys):
    arguments = ["dl19-passage.tasb", "--baseline", "dl19-passage.bm25", "--measures", "nDCG@10", "--per-query", "2"]
    assert tasb(*DL19, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()[-5:]
    assert lines[0] == "nDCG@10, where dl19-passage.tasb differs most from dl19-passage.bm25:"
    assert lines[2].split() == ["qid", "dl19-passage.tasb", "dl19-passage.bm25", "difference", "topic"]
    qrels, topics = load_qrels("dl19-passage"), load_topics("dl19-passage")
    dense, bm25 = (
        evaluate_run(load_run(f"dl19-passage.{name}"), qrels, ["nDCG@10"]).per_query["nDCG@10"]
        for name in ("tasb", "bm25")
    )
    for line, index in zip(lines[3:], np.argsort(-abs(dense - bm25)), strict=False):
        qid = list(qrels)[index]
        numbers = [f"{dense[index]:.4f}", f"{bm25[index]:.4f}", f"{dense[index] - bm25[index]:+.4f}"]
        assert line.split() == [qid, *numbers, *topics[qid].split()]


@pytest.mark.usefixtures("three_runs")
def test_notes_on_queries_and_documents_without_judgments(capsys):
    assert tasb(*evaluate("--measures", "RR@5")) == 0
    share = "90.0% of the documents in the top 5 of poor.run have no judgment and count as not relevant"
    assert [line.removeprefix("tasb evaluate: note: ") for line in capsys.readouterr().err.splitlines()] == [
        "good.run ends at depth 2, which is too short for RR@5",
        "fair.run ends at depth 2, which is too short for RR@5",
        "poor.run has 1 of its 9 queries without judgments, which are left out: other",
        share,
    ]


def test_where_only_relevant_documents_were_judged_the_share_is_shown_when_asked_for(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qrels.txt").write_text("1 0 a 1\n")
    (tmp_path / "x.run").write_text("1 Q0 b 1 2 t\n1 Q0 a 2 1 t\n")
    assert tasb("evaluate", "--qrels", "qrels.txt", "--runs", "x.run", "--measures", "RR@2", "--unjudged") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[:2] == ["run    RR@2    unjudged@2", "x.run  0.5000  50.0%"]
    assert "50.0%" in printed.err
    assert tasb("evaluate", "--qrels", "qrels.txt", "--runs", "x.run", "--measures", "RR@2") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("three_runs")
def test_json_of_pairs_changes_and_notes(capsys):
    assert tasb(*evaluate("--all-pairs", "--measures", "RR@5", "--json", "--test", "randomisation", "--seed", "3")) == 0
    document = json.loads(capsys.readouterr().out)
    pairs = document["pairs"]["RR@5"]
    assert [(pair["run"], pair["other"]) for pair in pairs] == [
        ("good.run", "fair.run"), ("good.run", "poor.run"), ("fair.run", "poor.run")
    ]  # fmt: skip
    assert (pairs[0]["test"], pairs[0]["p"], pairs[0]["p_holm"]) == ("randomisation", 2 / 2**8, 6 / 2**8)
    poor = document["runs"][2]
    assert poor["queries_without_judgments"] == ["other"]
    assert poor["unjudged"] == {"cutoff": 5, "share": 0.9}
    assert len(document["notes"]) == 4
    assert tasb(*evaluate("--baseline", "good.run", "--measures", "RR", "--json", "--per-query", "1")) == 0
    document = json.loads(capsys.readouterr().out)
    assert "pairs" not in document
    change = {"qid": "q0", "topic": None, "value": 0.5, "baseline": 1.0}
    assert [run["largest_changes"] for run in document["runs"][:2]] == [{}, {"RR": [change]}]


def test_recall_plot_is_of_the_grade_that_the_qrels_ask_for(tmp_path):
    names = ["dl19-passage.tasb", "dl19-passage.bm25"]
    assert tasb(*DL19, *names, "--measures", "nDCG@10", "--recall-plot", tmp_path / "recall.png") == 0
    curves = {name: recall_curve(load_run(name), load_qrels("dl19-passage"), 2) for name in names}
    (tmp_path / "expected.png").write_bytes(as_png(recall_figure(curves, "dl19-passage", 2)))
    assert (tmp_path / "recall.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test", "t", "--details"], "--test without --baseline or --all-pairs; --details without --baseline or"),
        (["--baseline", "dl19-passage.bm25", "--seed", "1"], "--seed without --test randomisation"),
        (["--all-pairs", "--per-query", "3"], "--per-query without --baseline"),
        (["--topics", "dl19-passage"], "--topics without --per-query"),
        (["--recall-plot", "recall.pdf"], "--recall-plot recall.pdf, which is not named as a PNG"),
        (["--all-pairs"], "expected: 2 to 25 runs, which --all-pairs names by letters\n  found:    1"),
    ],
)
def test_options_that_do_not_go_together(capsys, arguments, message):
    assert tasb(*DL19, "dl19-passage.tasb", *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


@pytest.mark.parametrize(
    "arguments",
    [["--all-pairs", "--baseline", "a"], ["--json", "--markdown"], ["--per-query", "0"], ["--seed", "-1"]],
)
def test_options_that_the_parser_refuses(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        tasb(*DL19, "dl19-passage.tasb", *arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--qrels", "dl19-passage", "--runs", "dl20-passage.tasb"], "none of them; the run has 23849"),
        (["--qrels", "dl19-passage", "--runs", "absent.txt"], "run `absent.txt`"),
        (["--qrels", "absent.txt", "--runs", "dl20-passage.tasb"], "qrels `absent.txt`"),
        (
            ["--qrels", "dl19-passage", "--runs", "dl19-passage.tasb", "--measures", "nDGC@10"],
            "did you mean `nDCG@10`?",
        ),
    ],
)
def test_mistakes_end_with_status_2_and_print_nothing_else(capsys, arguments, message):
    assert tasb("evaluate", *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


SELF = ("evaluate", "--qrels", str(DATA / "self" / "qrels.txt"), "--runs", str(DATA / "self" / "run.txt"))


def test_queries_that_are_documents_are_dropped_from_every_run(capsys, tmp_path):
    """The relevant documents rise from ranks 2 and 3 to ranks 1 and 2."""
    without = tmp_path / "without.txt"
    without.write_text("a1 Q0 a4 1 8 t\na1 Q0 a2 2 7 t\na3 Q0 a4 1 8 t\n")  # already without; ranks 2 and 1
    arguments = [*SELF, str(without), "--measures", "nDCG@10", "--json"]
    for option, value, dropped in (([], (0.63092975 + 0.5) / 2, None), (["--remove-query"], (1 + 0.63092975) / 2, 2)):
        assert tasb(*arguments, *option) == 0
        document = json.loads(capsys.readouterr().out)
        given, other = document["runs"]
        assert given["overall"]["nDCG@10"] == pytest.approx(value)
        assert other["overall"]["nDCG@10"] == pytest.approx((0.63092975 + 1) / 2)
        assert (given["own_documents_dropped"], given["depth"]) == (dropped, 2 if option else 3)
    run = SELF[-1]
    assert [note for note in document["notes"] if "dropped" in note] == [
        f"dropped documents that have their query's id: 2 from {run}, 0 from {without}"
    ]


def test_what_else_is_shown_is_without_them_too(capsys, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("a1 Q0 a4 1 8 t\na1 Q0 a2 2 7 t\na3 Q0 a4 1 8 t\n")
    shown = ["--baseline", str(other), "--per-query", "2", "--unjudged", "--measures", "RR@2"]
    plot = ["--recall-plot", str(tmp_path / "recall.png")]
    assert tasb(*SELF, *shown, *plot, "--remove-query") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:3] == [
        [str(other), "0.7500", "33.3%"],
        [SELF[-1], "0.7500", "+0.0000", "50.0%"],
    ]
    assert lines[-2:] == [["a1", "1.0000", "0.5000", "+0.5000"], ["a3", "0.5000", "1.0000", "-0.5000"]]
    qrels = load_qrels(SELF[2])
    curves = {
        str(other): recall_curve(load_run(other), qrels),
        SELF[-1]: recall_curve(load_run(SELF[-1], remove_query=True), qrels),
    }
    (tmp_path / "expected.png").write_bytes(as_png(recall_figure(curves, SELF[2], 1)))
    assert (tmp_path / "recall.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_ids_that_coincide_by_chance_are_pointed_at(capsys, tmp_path):
    (tmp_path / "qrels.txt").write_text("1 0 1 1\n1 0 9 1\n2 0 2 0\n")
    (tmp_path / "run.txt").write_text("1 Q0 1 1 2 t\n1 Q0 9 2 1 t\n2 Q0 2 1 1 t\n")
    files = ["--qrels", str(tmp_path / "qrels.txt"), "--runs", str(tmp_path / "run.txt"), "--measures", "RR"]
    assert tasb("evaluate", *files, "--remove-query") == 0
    said = f"1 relevant documents in {tmp_path / 'qrels.txt'} have their query's id; are queries and documents"
    assert said in capsys.readouterr().err
    assert tasb("evaluate", *files) == 0
    assert "dropped" not in capsys.readouterr().err
    (tmp_path / "run.txt").write_text("1 Q0 1 1 2 t\n2 Q0 2 1 1 t\n")
    assert tasb("evaluate", *files, "--remove-query") == 2
    assert "none of them; the run has no document" in capsys.readouterr().err
