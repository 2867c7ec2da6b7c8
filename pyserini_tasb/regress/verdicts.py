"""What a measured value is worth beside an expected one, and what a process says of many in its exit status."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DECIMALS = 4  # of trec_eval
ROUNDING = 1e-9

CHECK_FAILED, COULD_NOT_RUN = 1, 2  # exit statuses


class Verdict(StrEnum):
    """Of a check or, its worst check's, of a condition."""

    OK = "OK"
    WITHIN = "OK*"
    RECORDED = "RECORDED"
    MISSING = "MISSING"
    HIGHER = "HIGHER"
    FAIL = "FAIL"


_FROM_BEST = (Verdict.OK, Verdict.WITHIN, Verdict.RECORDED, Verdict.MISSING, Verdict.HIGHER, Verdict.FAIL)


def is_count(measure: str) -> bool:
    """Whether it counts something, such as NumRet, instead of judging a ranking."""
    return measure.startswith("Num")


def as_printed(value: float, measure: str, sign: str = "") -> str:
    """As trec_eval prints it: four decimals, none for a count.

    Args:
        value: of the measure, or a difference of two.
        measure: ir-measures' name.
        sign: `+` for differences.
    """
    return f"{value:{sign}.{0 if is_count(measure) else DECIMALS}f}"


def difference(measured: float, expected: float) -> float:
    """Measured less expected, both as trec_eval prints them."""
    return round(round(measured, DECIMALS) - round(expected, DECIMALS), DECIMALS)


def judge(measured: float, expected: float, tolerance: float) -> Verdict:
    """OK where the printed values are equal, OK* within the tolerance; HIGHER is not better than FAIL: unexplained."""
    off = difference(measured, expected)
    if off == 0:
        return Verdict.OK
    if abs(off) <= tolerance + ROUNDING:
        return Verdict.WITHIN
    return Verdict.HIGHER if off > 0 else Verdict.FAIL


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The one that a release manager has to look at first; OK of none."""
    return max(verdicts, key=_FROM_BEST.index, default=Verdict.OK)


def exit_status(verdicts: Iterable[Verdict]) -> int:
    """0 where all is OK or recorded, 1 where a check failed, 2 where nothing failed and something could not run."""
    found = set(verdicts)
    if found & {Verdict.FAIL, Verdict.HIGHER}:
        return CHECK_FAILED
    return COULD_NOT_RUN if Verdict.MISSING in found else 0
