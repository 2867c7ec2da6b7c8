"""Recall at every cutoff."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.ranking import ranked_docids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.qrels import Qrels

DEEPEST = 1_000


def recall_curve(run: Mapping[str, Mapping[str, float]], qrels: Qrels, grade: int = 1) -> NDArray[np.float64]:
    """Mean recall at cutoffs 1, 2, 3, …, as `R(rel=grade)@cutoff`: over all judged queries, missing ones as 0.

    Args:
        run: qid → docid → score.
        qrels: qid → docid → grade.
        grade: from which a document is relevant.

    Returns:
        [cutoffs]: as many as the run's deepest ranking of a judged query has documents, 1,000 at most.
    """
    depth = max((len(run[qid]) for qid in qrels if qid in run), default=0)
    gains = np.zeros(min(depth, DEEPEST))
    for qid, judged in qrels.items():
        relevant = {docid for docid, judgment in judged.items() if judgment >= grade}
        for rank, docid in enumerate(ranked_docids(run.get(qid, {}))[: len(gains)]):
            if docid in relevant:
                gains[rank] += 1 / len(relevant)
    return gains.cumsum() / len(qrels)
