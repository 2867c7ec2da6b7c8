"""Results by topic set, each with one cell a measure: what all kinds of reports show."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pyserini_tasb.regress.verdicts import Verdict, worst

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.regress.checks import Check
    from pyserini_tasb.regress.result import Result


DONE = "done"  # where only stages were asked for


@dataclass(frozen=True)
class Row:
    """A condition.

    Args:
        result: of it.
        cells: measure → the check that decides; of a measure that is only cited, the first citation.
        allowed: whether its values may be higher.
    """

    result: Result
    cells: Mapping[str, Check]
    allowed: bool

    @property
    def label(self) -> str:
        """Its name, without the topic set's."""
        return self.result.name.removeprefix(f"{self.result.topics['name']}.")

    @property
    def verdict(self) -> str:
        """In a word."""
        return str(self.result.verdict or DONE)

    @property
    def failed(self) -> bool:
        """Whether it makes `tasb regress` fail."""
        verdict = self.result.verdict
        return verdict is Verdict.FAIL or (verdict is Verdict.HIGHER and not self.allowed)

    @property
    def seconds(self) -> float:
        """Of all its commands, those of an earlier run included."""
        return sum(stage.seconds or 0 for stage in self.result.stages)


@dataclass(frozen=True)
class Section:
    """The conditions of a topic set.

    Args:
        topics: its name.
        measures: measure → label, of all that any condition has.
        rows: in order of their names.
    """

    topics: str
    measures: Mapping[str, str]
    rows: tuple[Row, ...]


def sections_of(results: Sequence[Result], allowed: Sequence[str]) -> list[Section]:
    """By topic set, in the order of their names.

    Args:
        results: of all conditions.
        allowed: patterns of names of conditions whose values may be higher.
    """
    by_topics: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: (result.topics["name"], result.name)):
        by_topics.setdefault(result.topics["name"], []).append(result)
    return [
        Section(
            topics,
            {check.measure: check.label for result in these for check in result.checks},
            tuple(_row(result, allowed) for result in these),
        )
        for topics, these in by_topics.items()
    ]


def _row(result: Result, allowed: Sequence[str]) -> Row:
    by_measure: dict[str, list[Check]] = {}
    for check in result.checks:
        by_measure.setdefault(check.measure, []).append(check)
    cells = {measure: _deciding(checks) for measure, checks in by_measure.items()}
    return Row(result, cells, any(fnmatchcase(result.name, pattern) for pattern in allowed))


def _deciding(checks: Sequence[Check]) -> Check:
    verdict = worst(check.verdict for check in checks if check.verdict is not None)
    return next((check for check in checks if check.verdict is verdict), checks[0])
