"""The order in which trec_eval ranks, for many queries at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGN = np.uint64(1 << 63)


def rank_order(
    queries: NDArray[np.int64], scores: NDArray[np.float64], docids: NDArray[np.uint64] | None
) -> NDArray[np.int64]:
    """Row numbers by query, then score, then docid, the last two descending; shape (rows,).

    Args:
        queries: number of each row's query, ascending.
        scores: finite.
        docids: [rows, words], packed; None where each query's rows are in descending order of docid already.
    """
    if not len(queries):
        return np.zeros(0, dtype=np.int64)
    descending = _descending(scores)
    key, mask = _key(queries, descending)
    # One sort of plain integers is many times faster than an indirect one by several keys.
    key.sort()
    order = (key & mask).astype(np.int64)
    key &= ~mask
    tied = key[1:] == key[:-1]
    undecided = tied if docids is not None else tied & (descending[order[1:]] != descending[order[:-1]])
    if undecided.any():
        _decide(order, tied, undecided, descending, docids)
    return order


def _descending(scores: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Integers that ascend as the scores descend."""
    bits = (scores + 0.0).view(np.uint64)  # -0.0 is 0.0
    is_positive = (bits >> np.uint64(63)) - np.uint64(1)  # all bits, or none
    return bits ^ (is_positive & ~_SIGN)


def _key(queries: NDArray[np.int64], descending: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], np.uint64]:
    """Query, as many of the score's leading bits as there is room for, and row number in one integer each."""
    row_bits = (len(queries) - 1).bit_length()
    query_bits = int(queries[-1] - queries[0]).bit_length()
    mask = np.uint64((1 << row_bits) - 1)
    key = (descending >> np.uint64(query_bits)) & ~mask
    if query_bits:
        key |= (queries - queries[0]).astype(np.uint64) << np.uint64(64 - query_bits)
    key |= np.arange(len(queries), dtype=np.uint64)
    return key, mask


def _decide(
    order: NDArray[np.int64],
    tied: NDArray[np.bool_],
    undecided: NDArray[np.bool_],
    descending: NDArray[np.uint64],
    docids: NDArray[np.uint64] | None,
) -> None:
    """Sort again, by all there is, the rows whose keys are equal, where that leaves something open."""
    segment = np.concatenate([[0], np.cumsum(~tied)])
    is_open = np.zeros(segment[-1] + 1, dtype=np.bool_)
    is_open[segment[1:][undecided]] = True
    places = np.flatnonzero(is_open[segment])
    rows = order[places]
    by_docid = [rows] if docids is None else [~docids[rows, word] for word in range(docids.shape[1] - 1, -1, -1)]
    order[places] = rows[np.lexsort((*by_docid, descending[rows], segment[places]))]
