"""A measure against the depth of re-ranking (RQ4 of the TAS-B paper, arXiv:2104.06967)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import evaluate_run
from pyserini_tasb.evaluate.ranking import ranked_docids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.evaluate import Qrels, Run

    Ranking = Mapping[str, float]


@dataclass(frozen=True)
class NamedRun:
    """A run, and what tables call it."""

    name: str
    run: Run


@dataclass(frozen=True)
class DepthCurve:
    """What a re-ranker makes of a first stage.

    Attributes:
        first_stage: its name.
        reranker: its name.
        before: the first stage's own value.
        values: depth → value, the smallest depth first.
    """

    first_stage: str
    reranker: str
    before: float
    values: Mapping[int, float]


def depth_curve(first: NamedRun, reranked: NamedRun, qrels: Qrels, measure: str, depths: Sequence[int]) -> DepthCurve:
    """Evaluate a re-ranking at each depth that it reaches.

    A model's score of a passage is the same whatever the depth: those of the deepest re-ranking are those of all. Of
    duoT5 that is not so, whose scores depend on all the passages compared.

    Args:
        first: what was re-ranked.
        reranked: what came of it.
        qrels: qid → docid → grade.
        measure: ir-measures' name of one.
        depths: to evaluate at, the smallest first. Those below the last passage that has a score are left out.

    Raises:
        TasbError: the one is no re-ranking of the other down to the smallest depth, or they share no query with the
            qrels.
    """

    def value(run: Run, name: str) -> float:
        return evaluate_run(run, qrels, [measure], name=name).overall[measure]

    reach = _reach(first.run, reranked.run)
    if reach < depths[0]:
        raise TasbError(
            where=reranked.name,
            expected=f"a re-ranking of {first.name}, at least of the top {depths[0]} of every query",
            found=f"scores of the top {reach}",
            do="name after --first-stage the run that was re-ranked, or a smaller depth first; if it was re-ranked "
            "with --remove-query, add it",
        )
    return DepthCurve(
        first.name,
        reranked.name,
        value(first.run, first.name),
        {depth: value(at_depth(first.run, reranked.run, depth), reranked.name) for depth in depths if depth <= reach},
    )


def at_depth(first: Run, reranked: Run, depth: int) -> Run:
    """The run that re-ranking to this depth would have made; what lies below follows in its order.

    Args:
        first: qid → docid → score.
        reranked: qid → docid → score, of these docids down to `depth` at least.
        depth: passages of each query that are re-ranked.
    """
    run = {}
    for qid, ranking in first.items():
        docids = ranked_docids(ranking)
        top = ranked_docids({docid: reranked[qid][docid] for docid in docids[:depth]})
        run[qid] = {docid: -float(rank) for rank, docid in enumerate([*top, *docids[depth:]])}
    return run


def _reach(first: Run, reranked: Run) -> int:
    """Down to which depth every query's passages have a new score."""
    reached = min((_query_reach(ranking, reranked.get(qid, {})) for qid, ranking in first.items()), default=0)
    return int(min(reached, max(map(len, first.values()), default=0)))


def _query_reach(ranking: Ranking, scored: Ranking) -> float:
    without = (depth for depth, docid in enumerate(ranked_docids(ranking)) if docid not in scored)
    return next(without, math.inf)  # all of a short ranking is as deep as it gets
