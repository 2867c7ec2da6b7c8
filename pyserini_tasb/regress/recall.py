"""A condition's recall at every cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate import parse_measures, recall_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.evaluate import Qrels, Run

DECIMALS = 4


@dataclass(frozen=True)
class Recall:
    """Of a run, for plots.

    Args:
        grade: from which a document is relevant.
        at: mean recall at cutoffs 1, 2, 3, … up to the run's depth, 1,000 at most; four decimals.
    """

    grade: int
    at: tuple[float, ...]


def recall_of(run: Run, qrels: Qrels, measures: Sequence[str]) -> Recall:
    """Recall as the topic set's recall measure counts it; without such a measure, from grade 1.

    Args:
        run: qid → docid → score.
        qrels: qid → docid → grade.
        measures: ir-measures' names, of the topic set.
    """
    grades = [int(measure["rel"]) for measure in parse_measures(measures) if measure.NAME == "R"]
    grade = grades[0] if grades else 1
    return Recall(grade, tuple(recall_curve(run, qrels, grade).round(DECIMALS).tolist()))
