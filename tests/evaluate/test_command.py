from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from pyserini_tasb.cli import main
from pyserini_tasb.evaluate import evaluate_run, load_qrels, load_run, paired_t_test

DL19 = ("evaluate", "--qrels", "dl19-passage", "--runs")


def test_headline_table_with_defaults_and_baseline(capsys):
    assert main([*DL19, "dl19-passage.tasb", "dl19-passage.bm25", "--baseline", "dl19-passage.bm25"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "run                nDCG@10          AP(rel=2)@1000   R(rel=2)@1000    RR(rel=2)@10",
        "dl19-passage.tasb  0.7210 +0.2152†  0.4050 +0.1574†  0.6097 +0.1186†  0.8754 +0.1730†",
        "dl19-passage.bm25  0.5058           0.2476           0.4910           0.7024",
        "",
        "43 queries of dl19-passage; differences to dl19-passage.bm25; † p < 0.05 (paired t-test)",
    ]
    assert printed.err.splitlines()[0].endswith(
        "dl19-passage.tasb ends at depth 100, before AP(rel=2)@1000, R(rel=2)@1000"
    )


def test_baseline_that_is_not_among_the_runs_comes_first(capsys):
    assert main([*DL19, "dl19-passage.tasb", "--baseline", "dl19-passage.bm25", "--measures", "nDCG@10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "run                nDCG@10",
        "dl19-passage.bm25  0.5058",
        "dl19-passage.tasb  0.7210 +0.2152†",
    ]


def test_without_baseline_there_is_no_legend_and_a_run_named_twice_counts_once(capsys):
    assert main([*DL19, "dl19-passage.tasb", "dl19-passage.tasb", "--measures", "nDCG@10"]) == 0
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
    assert main(["evaluate", "--qrels", "qrels.txt", *runs]) == 0

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
    assert main(["evaluate", "--qrels", "qrels.txt", "--runs", "all.run", "half.run", "--measures", "AP"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "tasb evaluate: note: half.run lacks 1 of 2 judged queries, which count as 0: 008\n"


def test_json_holds_the_value_of_every_query_and_the_whole_test(capsys):
    assert main([*DL19, "dl19-passage.tasb", "--baseline", "dl19-passage.bm25", "--measures", "nDCG@10", "--json"]) == 0
    bm25, tasb = json.loads(capsys.readouterr().out)["runs"]
    qrels = load_qrels("dl19-passage")
    expected = [evaluate_run(load_run(run["run"]), qrels, ["nDCG@10"]).per_query["nDCG@10"] for run in (bm25, tasb)]
    for run, values in zip((bm25, tasb), expected, strict=True):
        assert list(run["per_query"]["nDCG@10"]) == list(qrels)
        assert np.array_equal(list(run["per_query"]["nDCG@10"].values()), values)
    test = paired_t_test(expected[1], expected[0])
    assert tasb["against_baseline"]["nDCG@10"] == vars(test)
    assert test.p < 1e-5
    assert test.wins + test.ties + test.losses == test.n == 43


@pytest.mark.usefixtures("one_query")
def test_significance_over_several_runs_is_corrected_and_says_so(capsys):
    runs = ["--runs", "half.run", "none.run", "--baseline", "all.run", "--measures", "RR"]
    assert main(["evaluate", "--qrels", "qrels.txt", *runs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["half.run  0.5000 -0.5000", "none.run  0.0000 -1.0000†"]
    assert lines[-1].endswith("† p < 0.05 (paired t-test, Holm-corrected for 2 runs)")


@pytest.mark.usefixtures("one_query")
def test_table_on_a_terminal_without_unicode(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    main(["evaluate", "--qrels", "qrels.txt", "--runs", "none.run", "--baseline", "all.run", "--measures", "RR"])
    stdout.flush()
    assert b"-1.0000*\n" in stdout.buffer.getvalue()
    assert b"* p < 0.05" in stdout.buffer.getvalue()


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
    assert main(["evaluate", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
