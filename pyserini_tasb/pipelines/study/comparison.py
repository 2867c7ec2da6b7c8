"""Which entries of a study differ from what they are compared with: paired t-tests over queries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.significance import PairedTTest, holm, paired_t_test

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.pipelines.study.config import StudyConfig
    from pyserini_tasb.pipelines.study.entry import Entry

SIGNIFICANT = 0.05
Key = tuple[str, str, str, str]
"""letter, task, measure, name of the entry."""


@dataclass(frozen=True)
class Comparison:
    """An entry against another on one measure of one task.

    Args:
        reference: name of the other.
        test: over queries; seeds were averaged before.
        p: two-sided, corrected for all comparisons of the same letter, task and measure (Holm 1979).
        half_width: of the 95 % confidence interval of the mean difference, over queries.
    """

    reference: str
    test: PairedTTest
    p: float
    half_width: float

    @property
    def significant(self) -> bool:
        """Whether the two differ by more than chance."""
        return self.p < SIGNIFICANT


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
            tests = [paired_t_test(values, others) for values, others in here.values()]
            corrected = holm([test.p for test in tests])
            for (names, (values, others)), result, p in zip(here.items(), tests, corrected, strict=True):
                comparisons[letter, task, measure, names[0]] = Comparison(
                    names[1], result, p, _half_width(values - others)
                )
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


def _half_width(differences: NDArray[np.float64]) -> float:
    if len(differences) < 2:
        return math.inf
    from scipy import stats  # takes most of a second

    error = differences.std(ddof=1) / math.sqrt(len(differences))
    return float(stats.t.ppf(0.975, len(differences) - 1) * error)
