"""The top of each query's ranking, scored again and sorted by the new scores."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.ranking import ranked_docids
from pyserini_tasb.rerank.requirements import require_texts, require_topics
from pyserini_tasb.score.list_scorer import ListScorer
from pyserini_tasb.texts.by_index import ListedTexts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.score.pair_scorer import PairScorer

    Score: TypeAlias = Callable[[str, Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class RerankedQuery:
    """One query's new ranking, the best first.

    Args:
        qid: the query.
        docids: of the passages.
        scores: [passages] the model's, fp32; of what was kept from below, made up to follow them.
        seconds: from the texts to this ranking.
    """

    qid: str
    docids: list[str]
    scores: NDArray[np.float32]
    seconds: float


def rerank(
    run: Mapping[str, Mapping[str, float]],
    topics: Mapping[str, str],
    passages: Mapping[str, str],
    scorer: PairScorer | ListScorer,
    depth: int,
    *,
    keep_rest: bool = False,
) -> Iterator[RerankedQuery]:
    """Score each query's top passages again, one query at a time, and sort them by the new scores.

    Ties are broken as trec_eval breaks them, before and after: the greater docid first.

    Args:
        run: qid → docid → score.
        topics: qid → text of the query; may hold others.
        passages: docid → text; may hold others.
        scorer: what `load_scorer` or `load_list_scorer` gives.
        depth: passages of each query that are scored, by the run's scores.
        keep_rest: what lies below `depth` follows in its order, instead of being dropped.

    Returns:
        The queries in the run's order, each scored when it is asked for. All else is checked at once.

    Raises:
        TasbError: no document in the run, a depth below 1, queries without a topic, passages without text; or, while
            it goes on, a score that is no finite number.
    """
    tops = top_of_run(run, depth)
    require_topics(tops, topics)
    require_texts((docid for docids in tops.values() for docid in docids), passages)
    score = scorer.score_list if isinstance(scorer, ListScorer) else _one_by_one(scorer)

    def reranked(qid: str) -> RerankedQuery:
        query = _reranked(qid, topics[qid], tops[qid], [passages[docid] for docid in tops[qid]], score)
        return _followed(query, ranked_docids(run[qid])[depth:]) if keep_rest else query

    return map(reranked, tops)


def top_of_run(run: Mapping[str, Mapping[str, float]], depth: int, where: str | None = None) -> dict[str, list[str]]:
    """Each query's docids down to a depth, best first; scores are compared as trec_eval does, in fp32.

    Args:
        run: qid → docid → score.
        depth: docids for each query, at least 1.
        where: what the run is of, for messages.

    Raises:
        TasbError: no document in the run, or a depth below 1.
    """
    if depth < 1:
        raise TasbError(expected="a depth of 1 or more", found=str(depth), do="say how many passages to re-rank")
    if not any(run.values()):
        raise TasbError(
            where=where, expected="a run with documents", found="not one", do="check what was to be re-ranked"
        )
    return {qid: ranked_docids(ranking)[:depth] for qid, ranking in run.items()}


def _one_by_one(scorer: PairScorer) -> Score:
    def score(query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        rows = np.arange(len(passages), dtype=np.int64)
        return scorer.score_pairs(ListedTexts([query]), ListedTexts(passages), np.zeros_like(rows), rows)

    return score


def _reranked(qid: str, query: str, docids: Sequence[str], passages: Sequence[str], score: Score) -> RerankedQuery:
    start = time.perf_counter()
    scores = score(query, passages)
    by_score = sorted(zip(scores.tolist(), docids, strict=True), reverse=True)
    seconds = time.perf_counter() - start
    _require_finite(qid, docids, scores)
    ranked = np.array([score for score, _ in by_score], dtype=np.float32)
    return RerankedQuery(qid, [docid for _, docid in by_score], ranked, seconds)


def _followed(query: RerankedQuery, docids: Sequence[str]) -> RerankedQuery:
    """With more docids below: their scores are made up, each less than the one before."""
    if not docids:
        return query
    lowest = query.scores[-1].astype(np.float64)
    # Large numbers are further apart than 1 in fp32; twice as far, where these reach the next power of two.
    step = max(1.0, 2 * float(np.spacing(np.abs(query.scores[-1]))))
    below = (lowest - step * np.arange(1, len(docids) + 1)).astype(np.float32)
    return replace(query, docids=[*query.docids, *docids], scores=np.concatenate([query.scores, below]))


def _require_finite(qid: str, docids: Sequence[str], scores: NDArray[np.float32]) -> None:
    wrong = np.flatnonzero(~np.isfinite(scores)).tolist()
    if wrong:
        raise TasbError(
            where=f"query {qid}",
            expected="scores that are finite numbers",
            found=f"{len(wrong)} of {len(scores)} that are not, such as {scores[wrong[0]]} of {docids[wrong[0]]}",
            do="check the model's weights; where they overflow in bf16 or fp16, compute in fp32",
        )
