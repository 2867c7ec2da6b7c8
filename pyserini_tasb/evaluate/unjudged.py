"""How much of what a run shows nobody has judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.ranking import ranked_docids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyserini_tasb.evaluate.qrels import Qrels


def unjudged_share(run: Mapping[str, Mapping[str, float]], qrels: Qrels, cutoff: int) -> float:
    """The share, 0 to 1, of documents without a judgment among the run's top `cutoff` of all judged queries.

    Args:
        run: qid → docid → score, with a document for at least one judged query.
        qrels: qid → docid → grade.
        cutoff: how far down to look; shorter rankings count as they are.
    """
    shown = [(qid, docid) for qid in qrels if qid in run for docid in ranked_docids(run[qid])[:cutoff]]
    return sum(docid not in qrels[qid] for qid, docid in shown) / len(shown)


def has_negatives(qrels: Qrels) -> bool:
    """Whether some documents were judged not relevant; where none were, a missing judgment says little."""
    return any(grade < 1 for judged in qrels.values() for grade in judged.values())
