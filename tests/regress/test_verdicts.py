"""What a difference means, both ways, and what many verdicts mean for the exit status."""

from __future__ import annotations

import pytest

from pyserini_tasb.regress.verdicts import Verdict, difference, exit_status, judge, worst


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
    assert exit_status(map(Verdict, verdicts)) == status
