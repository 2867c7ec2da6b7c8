"""Results as lines of text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pyserini_tasb.regress.verdicts import Verdict, as_printed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.regress.checks import Check
    from pyserini_tasb.regress.result import Result

UNVERSIONED = "-"


def as_text(result: Result) -> str:
    """A condition's checks, or why there are none."""
    return "\n".join([f"{result.verdict or 'done'}  {result.name}: {result.description}", *_lines(result)])


def counts(results: Sequence[Result]) -> str:
    """How many conditions got which verdict."""
    counted = Counter(str(result.verdict or "done") for result in results)
    return f"{len(results)} condition{'s' * (len(results) != 1)}: " + ", ".join(
        f"{number} {verdict}" for verdict, number in counted.items()
    )


def _lines(result: Result) -> Iterator[str]:
    if result.failure is not None:
        yield from (f"  {line}" for line in result.failure.splitlines())
    for need in result.needs:
        yield f"  needs {need}"
    width = max((len(check.measure) for check in result.checks), default=0)
    for check in result.checks:
        why = f": {check.reason}" if check.verdict is None and check.reason else ""
        yield f"  {check.verdict or 'cited':8}  {check.measure:{width}}  {check_values(check)}{why}"
    for note in result.notes:
        yield f"  note: {note}"
    if result.verdict in (Verdict.FAIL, Verdict.HIGHER) and result.last_ok:
        moves = [f"{name} {was or UNVERSIONED} → {now or UNVERSIONED}" for name, (was, now) in result.moved.items()]
        yield f"  since the last OK ({result.last_ok}): {', '.join(moves) or 'no version has moved'}"


def check_values(check: Check) -> str:
    """Measured, expected, difference and source, in a line."""
    measured = as_printed(check.measured, check.measure)
    if check.expected is None or check.difference is None or check.source is None:
        return f"{measured}, which nobody has published"
    expected, off = as_printed(check.expected, check.measure), as_printed(check.difference, check.measure, "+")
    within = f" ± {check.tolerance:g}" if check.tolerance else ""
    source = f"{check.source.kind}: {check.source.reference}" + (f", {check.source.date}" if check.source.date else "")
    return f"{measured}  expected {expected}{within}  {off}  ({source})"
