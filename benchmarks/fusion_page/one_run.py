"""The two runs before they are fused, and what fusing them could find at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from topic_set import MEASURES, RELEVANT

from pyserini_tasb.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topic_set import PerQuery, TopicSet


def one_run_table(sets: Sequence[TopicSet]) -> str:
    head = ["", *(f"{topics.title} {column}" for topics in sets for column in (*MEASURES, "span of scores"))]
    lines = [
        ["TAS-B", *(cell for topics in sets for cell in _cells(topics, topics.tasb, 0))],
        ["BM25", *(cell for topics in sets for cell in _cells(topics, topics.bm25, 1))],
        ["both lists", *(cell for topics in sets for cell in ("", f"{recall_of_union(topics):.4f}", ""))],
    ]
    note = (
        "The span is a list's highest score minus its lowest, the mean over queries. The last line is the recall of "
        "both lists together, which no fusion exceeds."
    )
    return f"{markdown_table(head, lines)}\n\n{note}"


def recall_of_union(topics: TopicSet) -> float:
    """Mean share of the relevant documents that one of the lists has."""
    shares = []
    for qid, grades in topics.qrels.items():
        relevant = {docid for docid, grade in grades.items() if grade >= RELEVANT}
        found = {docid for run in topics.runs for docid in run[qid]}
        shares.append(len(relevant & found) / len(relevant))
    return float(np.mean(shares))


def _cells(topics: TopicSet, values: PerQuery, number: int) -> list[str]:
    lists = [list(topics.runs[number][qid].values()) for qid in topics.qrels]
    span = np.mean([max(scores) - min(scores) for scores in lists])
    return [*(f"{values[measure].mean():.4f}" for measure in MEASURES), f"{span:.1f}"]
