"""A run's measured values beside the expected ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.recipes.regression_types import Source
from pyserini_tasb.regress.verdicts import Verdict, difference, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyserini_tasb.regress.condition import Condition
    from pyserini_tasb.regress.recorded import Record


@dataclass(frozen=True)
class Check:
    """One value of one source.

    Args:
        measure: ir-measures' name.
        label: what reports call it.
        trec_eval: the arguments with which trec_eval prints it.
        measured: the run's value.
        expected: the source's; None where nobody has one.
        difference: measured less expected, with four decimals.
        tolerance: how far `measured` may be off, to either side.
        reason: for the tolerance, or why nothing is judged.
        source: of `expected`.
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


def checks_of(condition: Condition, measured: Mapping[str, float], record: Record) -> list[Check]:
    """Every expected value, every cited one, and every measure of which nobody has published any.

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
