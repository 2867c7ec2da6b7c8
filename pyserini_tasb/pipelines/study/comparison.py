"""Which entries of a study differ from what they are compared with: paired t-tests over queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.significance import PairedTest, paired_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.entry import Entry

Key = tuple[str, str, str, str]
"""letter, task, measure, name of the entry."""


@dataclass(frozen=True)
class Comparison:
    """An entry against another on one measure of one task.

    Args:
        reference: name of the other.
        test: over queries; seeds were averaged before. Corrected for all of the same letter, task and measure.
    """

    reference: str
    test: PairedTest


def compare(study: StudyConfig, entries: Sequence[Entry]) -> dict[Key, Comparison]:
    """Every entry with what each letter stands for, where both are there and are not the same."""
    comparisons = {}
    for letter in study.letters:
        pairs = [(entry, reference) for entry in entries if (reference := _reference(study, letter, entry, entries))]
        for task, measure in measures_of(study):
            here = {}
            for entry, reference in pairs:
                values, others = entry.per_query(task, measure), reference.per_query(task, measure)
                if values is not None and others is not None:
                    here[entry.name, reference.name] = values, others
            for (name, other), test in paired_tests(here).items():
                comparisons[letter, task, measure, name] = Comparison(other, test)
    return comparisons


def measures_of(study: StudyConfig) -> list[tuple[str, str]]:
    """Task and measure of every column."""
    from pyserini_tasb.evaluate import parse_measures

    return [(name, str(measure)) for name, task in study.tasks.items() for measure in parse_measures(task.measures)]


def _reference(study: StudyConfig, letter: str, entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    meant = study.letters[letter]
    if isinstance(meant, str):
        name = meant
    elif entry.levels is None:
        return None
    else:
        name = "+".join(meant.get(axis, level) for axis, level in zip(study.axes, entry.levels, strict=True))
    return next((other for other in entries if other.name == name and other is not entry), None)
