"""What a query's passages are ranked among: the best of a baseline run, and every relevant passage."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyserini_tasb.evaluate import Qrels, Run, Topics


@dataclass(frozen=True)
class Candidates:
    """One query's.

    Attributes:
        retrieved: docid → score in the baseline run, best first.
        added: relevant passages that are not among them.
        grades: docid → grade, of those of both that are judged.
    """

    retrieved: dict[str, float]
    added: list[str]
    grades: dict[str, int]

    @property
    def docids(self) -> list[str]:
        """All, those that were retrieved first."""
        return [*self.retrieved, *self.added]


def candidates_of(
    ranking: Mapping[str, float], judged: Mapping[str, int], depth: int, min_relevance: int
) -> Candidates:
    """The candidates of a query.

    Args:
        ranking: docid → score in the baseline run; ties are broken as trec_eval does.
        judged: docid → grade.
        depth: how many of the run's best.
        min_relevance: the lowest grade of a relevant passage.
    """
    best = heapq.nlargest(depth, ((score, docid) for docid, score in ranking.items()))
    retrieved = {docid: score for score, docid in best}
    added = [docid for docid, grade in judged.items() if grade >= min_relevance and docid not in retrieved]
    grades = {docid: grade for docid, grade in judged.items() if docid in retrieved or grade >= min_relevance}
    return Candidates(retrieved, added, grades)


@dataclass(frozen=True)
class UsableQueries:
    """Queries that can be evaluated.

    Attributes:
        qids: of those with a text, a relevant passage and results, in the order of the topics.
        left_out: why others of the judged queries cannot → how many.
    """

    qids: list[str]
    left_out: dict[str, int]


def usable_queries(topics: Topics, qrels: Qrels, run: Run, min_relevance: int) -> UsableQueries:
    """The queries that all three know.

    Raises:
        TasbError: there is not one.
    """
    with_relevant = {qid for qid, judged in qrels.items() if any(grade >= min_relevance for grade in judged.values())}
    with_text = [qid for qid in topics if qid in with_relevant]
    usable = [qid for qid in with_text if run.get(qid)]
    if not usable:
        raise TasbError(
            expected=f"queries with a text in the topics, a passage of grade {min_relevance} or more in the qrels, and "
            "results in the run",
            found=f"none; the topics have {_examples(topics)}, the qrels {_examples(qrels)} ({len(with_relevant)} with "
            f"such a passage), the run {_examples(run)}",
            do="check that topics, qrels and run belong together",
        )
    left_out = {
        "no relevant passage": len(qrels) - len(with_relevant),
        "not among the topics": len(with_relevant) - len(with_text),
        "no results in the run": len(with_text) - len(usable),
    }
    return UsableQueries(usable, {why: count for why, count in left_out.items() if count})


def _examples(qids: Iterable[str]) -> str:
    listed = list(qids)
    return ", ".join(listed[:3]) + (f", … ({len(listed)} queries)" if len(listed) > 3 else "")
