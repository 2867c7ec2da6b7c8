"""What a difference means, both ways, and what many verdicts mean for the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserini_tasb.cli.check import exit_status
from pyserini_tasb.regression.regress import Regressions
from pyserini_tasb.regression.verdicts import Verdict, difference, judge, worst


@pytest.mark.parametrize(
    ("measured", "tolerance", "verdict"),
    [
        (0.7210, 0, "OK"),
        (0.72104, 0, "OK"),  # trec_eval prints .7210
        (0.72096, 0, "OK"),
        (0.72106, 0, "HIGHER"),
        (0.72094, 0, "FAIL"),
        (0.7215, 0.0005, "OK*"),
        (0.7205, 0.0005, "OK*"),
        (0.7216, 0.0005, "HIGHER"),
        (0.7204, 0.0005, "FAIL"),
        (0.0, 0.0005, "FAIL"),
        (1.0, 0.0005, "HIGHER"),
    ],
)
def test_both_sides_of_the_tolerance(measured, tolerance, verdict):
    assert judge(measured, 0.7210, tolerance) == verdict


def test_the_difference_is_that_of_what_is_printed():
    assert difference(0.72149, 0.7210) == 0.0005
    assert difference(0.30044, 0.3005) == -0.0001


def test_the_worst_counts():
    assert worst([Verdict.OK, Verdict.HIGHER, Verdict.WITHIN]) is Verdict.HIGHER
    assert worst([Verdict.RECORDED, Verdict.WITHIN, Verdict.OK]) is Verdict.RECORDED
    assert worst([]) is Verdict.OK


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["OK", "OK*", "RECORDED"], 0),
        (["OK", "MISSING"], 2),
        (["MISSING", "FAIL"], 1),
        (["OK", "HIGHER"], 1),
        ([], 0),
    ],
)
def test_exit_status(verdicts, status):
    by_name = {f"condition-{number}": Verdict(verdict) for number, verdict in enumerate(verdicts)}
    assert exit_status(Regressions(Path(), verdicts=by_name)) == status


def test_another_checkpoints_numbers_judge_nothing(regress, small):
    def about(*named, place="expected", **keys):
        source = {"kind": "paper", "reference": "Table 7", "checkpoints": list(named)}
        block = {"source": source, "values": {"RR@10": 0.75}}
        if place == "cited":
            keys |= {"expected": "measure", "cited": [block | {"note": "another training"}]}
        else:
            keys |= {"expected": [block]}
        return small.regression(**{"checkpoints": ["tasb-b256"]} | keys)

    assert regress(about("tasb-b256")).result("small")["verdict"] == "OK"
    refused = regress(about("tasb-b96"))
    assert refused.status == 2
    assert "regression small, Table 7" in refused.stderr
    assert "numbers of tasb-b256, the models that made the run" in refused.stderr
    assert "numbers of tasb-b96" in refused.stderr
    assert "the models that made the run" in regress(about("tasb-b256", "duot5")).stderr
    models = [{"encoder": "tasb", "bytes": 1}]
    b256 = "sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco"
    assert (
        f"numbers of {b256}, the models that made the run"
        in regress(about("tasb-b96", checkpoints=[], models=models)).stderr
    )
    cited = regress(about("tasb-b96", place="cited"))
    assert cited.result("small")["verdict"] == "RECORDED"
    assert "  cited     RR@10  0.7500  expected 0.7500  +0.0000  (paper: Table 7): another training\n" in cited.stdout
