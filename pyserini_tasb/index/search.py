"""Search one Faiss index so that what it finds does not depend on what else was searched with it.

Faiss alone leaves open which of equal scores it keeps, and multiplies single queries, batches, and the last vectors of
a block in different ways, so that scores differ in their last bits. Here a flat index scores its hits again one by one,
and a list that ends in a tie is searched for further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.index.ranking import Hits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyserini_tasb.index.faiss_folder import FaissFolder

# Of the largest difference between a hit's first and second score: how far below the last hit an equal one can stand.
NOISE_MARGIN = 10


def search_folder(folder: FaissFolder, queries: NDArray[np.float32], depth: int) -> list[Hits]:
    """Each query's best `depth` documents of one index, ranked as trec_eval does; rows are those of the index.

    Args:
        folder: the open index.
        queries: [queries, dimension].
        depth: how many documents, each docid counted once.
    """
    found: list[Hits | None] = [None] * len(queries)
    remaining = np.arange(len(queries))
    beyond = depth + depth // 8 + 16
    while len(remaining):
        beyond = min(beyond, int(folder.index.ntotal))
        for query, (hits, is_whole) in zip(remaining, _search(folder, queries[remaining], depth, beyond), strict=True):
            found[query] = hits if is_whole or beyond == folder.index.ntotal else None
        remaining = np.array([query for query in remaining if found[query] is None], np.int64)
        beyond *= 2
    return [hits for hits in found if hits is not None]


def _search(folder: FaissFolder, queries: NDArray[np.float32], depth: int, beyond: int) -> Iterator[tuple[Hits, bool]]:
    """The best documents among the `beyond` best vectors, and whether no other vector can be among them."""
    first, rows = folder.index.search(queries, beyond)
    scores = _scored_again(folder.index, queries, rows)
    if scores is None:
        scores, noise = first, np.zeros(len(queries), np.float32)
    else:
        noise = NOISE_MARGIN * np.abs(scores - first).max(axis=1)
    for query in range(len(queries)):
        there = rows[query] >= 0  # an index that looks into a part of itself may find too few
        hits = Hits(scores[query, there], rows[query, there]).ranked(folder.docids, depth)
        searched_all = not there.all()
        yield hits, searched_all or (len(hits) == depth and first[query, -1] < hits.scores[-1] - noise[query])


def _scored_again(index: Any, queries: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Inner products of queries with some rows each, in the same way for any number of queries; flat indexes only."""
    import faiss

    flat: Any = index
    if not isinstance(index, faiss.IndexFlat):  # all others compare one by one in the first place
        return None
    scores = np.empty(rows.shape, np.float32)
    vectors = np.ascontiguousarray(queries, np.float32)
    flat.compute_distance_subset(
        len(vectors), faiss.swig_ptr(vectors), rows.shape[1], faiss.swig_ptr(scores), faiss.swig_ptr(rows)
    )
    return scores
