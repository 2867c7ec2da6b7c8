"""Ranked documents of one query, and one ranking out of those of several shards."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranking:
    """The hits of one query, best first, each docid once.

    Args:
        scores: [hits], descending.
        docids: the docid of each hit.
    """

    scores: NDArray[np.float32]
    docids: list[str]

    def __len__(self) -> int:
        return len(self.docids)

    def without(self, docid: str, depth: int) -> Ranking:
        """The first `depth` hits that do not have the given docid."""
        kept = [place for place, each in enumerate(self.docids) if each != docid][:depth]
        return Ranking(self.scores[kept], [self.docids[place] for place in kept])


NO_RANKING = Ranking(np.empty(0, np.float32), [])


def merged(rankings: Sequence[Ranking], depth: int, *, descending_docids: bool = True) -> Ranking:
    """The best `depth` documents of several rankings of one query; a docid in several counts once, with its best score.

    Each ranking has to hold the best `depth` documents of its shard, or all. Of equal scores, the order is that of the
    docids.

    Args:
        rankings: one for each shard, in any order.
        depth: how many at most.
        descending_docids: the order of docids with the same score: descending, as trec_eval ranks, or ascending, as
            Anserini does.
    """
    scores = np.concatenate([each.scores for each in rankings]) if rankings else NO_RANKING.scores
    starts = [0, *accumulate(map(len, rankings))]
    count = depth
    while True:
        # Only what can be among the best becomes text: 1,000 shards find 1,000 times too many.
        chosen = _at_least_the(count, scores)
        places = np.searchsorted(starts, chosen, side="right") - 1
        docids = [
            rankings[place].docids[row - starts[place]]
            for place, row in zip(places.tolist(), chosen.tolist(), strict=True)
        ]
        kept = best_of_each(scores[chosen], docids, depth, descending_docids=descending_docids)
        if len(kept) == depth or len(chosen) == len(scores):
            return Ranking(scores[chosen][kept], [docids[place] for place in kept])
        count *= 2  # some docids were there several times


def _at_least_the(count: int, scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where scores are, that are not below the one at a rank."""
    if count >= len(scores):
        return np.arange(len(scores))
    last = len(scores) - count
    return np.flatnonzero(scores >= np.partition(scores, last)[last])


def best_of_each(
    scores: NDArray[np.float32], docids: Sequence[str], depth: int, *, descending_docids: bool = True
) -> list[int]:
    """The places of the best `depth` documents in their order, each docid once.

    Args:
        scores: [hits].
        docids: the docid of each hit.
        depth: how many at most.
        descending_docids: the order of docids with the same score; see `merged`.
    """
    hits = list(zip(scores.tolist(), docids, range(len(docids)), strict=True))
    if descending_docids:  # the order of `ranked_docids`, which takes each docid once only
        hits.sort(reverse=True)
    else:
        hits.sort(key=lambda hit: (-hit[0], hit[1]))
    seen: set[str] = set()
    kept = []
    for _, docid, place in hits:
        if docid not in seen:
            seen.add(docid)
            kept.append(place)
            if len(kept) == depth:
                break
    return kept
