"""A study's values as cells of a table, and its differences by letter."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.pipelines.study.document import Difference, MeasuredEntry, StudyDocument


@dataclass(frozen=True)
class StudyCell:
    """An entry in one column.

    Args:
        mean: over seeds.
        deviation: their standard deviation; None of a single one.
        better: letters of what it is significantly better than.
        worse: likewise.
    """

    mean: float
    deviation: float | None
    better: str
    worse: str


@dataclass(frozen=True)
class StudyRow:
    """An entry, and a cell for each column; None where it has no value."""

    entry: MeasuredEntry
    cells: tuple[StudyCell | None, ...]


def rows_of(study: StudyDocument) -> list[StudyRow]:
    """The study's table."""
    found = {(each.name, each.column, each.letter): each for each in study.differences if each.significant}
    return [
        StudyRow(
            entry,
            tuple(
                _cell(values, [each for letter in study.letters if (each := found.get((entry.name, column, letter)))])
                for column, values in enumerate(entry.values)
            ),
        )
        for entry in study.entries
    ]


def differences_of(study: StudyDocument, letter: str) -> list[tuple[str, list[Difference | None]]]:
    """Each entry that was compared with what the letter stands for: its label, and a difference for each column."""
    found = {(each.name, each.column): each for each in study.differences if each.letter == letter}
    columns = range(len(study.columns))
    rows = [(entry.label, [found.get((entry.name, column)) for column in columns]) for entry in study.entries]
    return [(label, differences) for label, differences in rows if any(differences)]


def _cell(values: Sequence[float], significant: Sequence[Difference]) -> StudyCell | None:
    if not values:
        return None
    return StudyCell(
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        better="".join(each.letter for each in significant if each.difference > 0),
        worse="".join(each.letter for each in significant if each.difference < 0),
    )
