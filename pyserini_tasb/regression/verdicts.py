"""Verdicts on measured values beside the expected ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pyserini_tasb.evaluation.measures import parse_measures
from pyserini_tasb.evaluation.recall import recall_curve
from pyserini_tasb.recipes.types import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.regression.condition import Condition
    from pyserini_tasb.regression.results import Record


DECIMALS = 4  # of trec_eval
ROUNDING = 1e-9


class Verdict(StrEnum):
    """The verdict on a check, or on a condition: that of its worst check."""

    OK = "OK"
    WITHIN = "OK*"
    RECORDED = "RECORDED"
    MISSING = "MISSING"
    HIGHER = "HIGHER"
    FAIL = "FAIL"


_FROM_BEST = (Verdict.OK, Verdict.WITHIN, Verdict.RECORDED, Verdict.MISSING, Verdict.HIGHER, Verdict.FAIL)


def is_count(measure: str) -> bool:
    """True if it counts something, such as NumRet, instead of judging a ranking."""
    return measure.startswith("Num")


def as_printed(value: float, measure: str, sign: str = "") -> str:
    """A value as trec_eval prints it: four decimals, none for a count.

    Args:
        value: the value of the measure, or a difference of two.
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


@dataclass(frozen=True)
class Check:
    """One value of one source.

    Args:
        measure: ir-measures' name.
        label: what reports call it.
        trec_eval: the arguments with which trec_eval prints it.
        measured: the run's value.
        expected: the source's value; None if no value is published.
        difference: measured less expected, with four decimals.
        tolerance: how far `measured` may be off, to either side.
        reason: the reason for the tolerance, or for giving no verdict.
        source: the source of `expected`.
        verdict: None where the value is only cited.
    """

    measure: str
    label: str
    trec_eval: str
    measured: float
    expected: float | None = None
    difference: float | None = None
    tolerance: float = 0
    reason: str | None = None
    source: Source | None = None
    verdict: Verdict | None = None


def judged_checks(condition: Condition, measured: Mapping[str, float], record: Record) -> list[Check]:
    """Every expected value, every cited value, and every measure without a published value.

    Args:
        condition: what was run.
        measured: measure → value.
        record: what earlier runs gave; where it has nothing either, the verdict is RECORDED.
    """
    about = condition.regression
    if about.expected == "measure":
        return [*_against_record(condition, measured, record), *_cited(condition, measured)]
    judged = [
        _check(
            condition,
            measured,
            measure,
            expected=value,
            tolerance=block.tolerance,
            reason=block.reason,
            source=block.source,
            verdict=judge(measured[measure], value, block.tolerance),
        )
        for block in about.expected
        for measure, value in block.values.items()
    ]
    return [*judged, *_cited(condition, measured)]


def _against_record(condition: Condition, measured: Mapping[str, float], record: Record) -> Iterator[Check]:
    for measure in condition.measures:
        known = record.values.get(measure)
        if known is None:
            yield _check(condition, measured, measure, verdict=Verdict.RECORDED)
        else:
            source = Source(kind="measured", reference="the first run here", date=record.date)
            verdict = judge(measured[measure], known, 0)
            yield _check(condition, measured, measure, expected=known, source=source, verdict=verdict)


def _cited(condition: Condition, measured: Mapping[str, float]) -> Iterator[Check]:
    for block in condition.regression.cited:
        for measure, value in block.values.items():
            yield _check(condition, measured, measure, expected=value, reason=block.note, source=block.source)


def _check(
    condition: Condition,
    measured: Mapping[str, float],
    measure: str,
    *,
    verdict: Verdict | None = None,
    expected: float | None = None,
    source: Source | None = None,
    tolerance: float = 0,
    reason: str | None = None,
) -> Check:
    about = next(known for known in condition.topics.measures if known.measure == measure)
    return Check(
        measure=measure,
        label=about.label,
        trec_eval=about.trec_eval,
        measured=measured[measure],
        expected=expected,
        difference=None if expected is None else difference(measured[measure], expected),
        tolerance=tolerance,
        reason=reason,
        source=source,
        verdict=verdict,
    )


@dataclass(frozen=True)
class Recall:
    """The recall of a run, for plots.

    Args:
        grade: the lowest grade of a relevant document.
        at: mean recall at cutoffs 1, 2, 3, … up to the run's depth, 1,000 at most; four decimals.
    """

    grade: int
    at: tuple[float, ...]


def measured_recall(run: RunDict, qrels: QrelsDict, measures: Sequence[str]) -> Recall:
    """Recall as the topic set's recall measure counts it; without such a measure, from grade 1.

    Args:
        run: qid → docid → score.
        qrels: qid → docid → grade.
        measures: ir-measures' names, of the topic set.
    """
    grades = [int(measure["rel"]) for measure in parse_measures(measures) if measure.NAME == "R"]
    grade = grades[0] if grades else 1
    return Recall(grade, tuple(recall_curve(run, qrels, grade).round(DECIMALS).tolist()))
