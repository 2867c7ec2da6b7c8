"""Exact search over vectors that stream by: what an index is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.index.vector_source import VectorSource


def exact_top(
    source: VectorSource, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best inner products of every query, and their rows in the source: both [queries, min(k, vectors)].

    Args:
        source: is read once, block by block.
        queries: [queries, dimension].
        k: how many.
    """
    import faiss

    scores = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    start = 0
    for _, vectors in source.blocks():
        block = np.ascontiguousarray(vectors, np.float32)
        found = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        scores = np.hstack([scores, found[0]])
        rows = np.hstack([rows, found[1] + start])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
        start += len(block)
    return scores, rows


def docids_at(source: VectorSource, rows: NDArray[np.int64]) -> dict[str, int]:
    """The row of each docid, for some rows of the source."""
    wanted = np.unique(rows)
    found: dict[str, int] = {}
    start = 0
    for docids, _ in source.blocks():
        first, last = np.searchsorted(wanted, (start, start + len(docids)))
        found |= {docids[row - start]: row for row in wanted[first:last].tolist()}
        start += len(docids)
    return found
