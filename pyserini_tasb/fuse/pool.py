"""The candidates of some queries: every document that one of the runs has, with what each run says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.columnar.packed_text import widened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.columnar import RunTable


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates by query and then docid, the latter descending.

    Attributes:
        queries: number of each candidate's query, shape (candidates,), ascending.
        docids: packed, [candidates, words].
        rows: [candidates, runs] where each run's table has the document; -1 where it does not.
        counts: candidates of each query, shape (queries,).
    """

    queries: NDArray[np.int64]
    docids: NDArray[np.uint64]
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, tables: Sequence[RunTable]) -> Pool:
        """Join tables of the same queries.

        Args:
            tables: each with the same number of queries, in the same order.
        """
        width = max(table.docids.shape[1] for table in tables)
        docids = np.concatenate([widened(table.docids, width) for table in tables])
        queries = np.concatenate([table.row_queries for table in tables])
        runs = np.repeat(np.arange(len(tables)), [len(table.scores) for table in tables])
        rows = np.concatenate([np.arange(len(table.scores)) for table in tables])
        order, is_first = _grouped(queries, docids)
        candidate = np.cumsum(is_first) - 1
        first = order[is_first]
        where = np.full((len(first), len(tables)), -1, dtype=np.int64)
        where[candidate, runs[order]] = rows[order]
        counts = np.bincount(queries[first], minlength=len(tables[0].qids))
        return cls(queries[first], docids[first], where, counts)

    @property
    def present(self) -> NDArray[np.bool_]:
        """[candidates, runs] whether the run has the document."""
        return np.asarray(self.rows >= 0)

    def kept(self, mask: NDArray[np.bool_]) -> Pool:
        """Some of the candidates."""
        queries = self.queries[mask]
        counts = np.bincount(queries, minlength=len(self.counts))
        return Pool(queries, self.docids[mask], self.rows[mask], counts)


def _grouped(queries: NDArray[np.int64], docids: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Row numbers by query, docid (descending) and row; and which rows are the first of their document."""
    codes = _codes(docids)
    row_bits, code_bits = len(queries).bit_length(), int(codes.max(initial=0)).bit_length()
    # One sort of plain integers is many times faster than an indirect one by several keys.
    key = queries.astype(np.uint64) << np.uint64(row_bits + code_bits)
    key |= (codes.max(initial=0) - codes).astype(np.uint64) << np.uint64(row_bits)
    key |= np.arange(len(queries), dtype=np.uint64)
    key.sort()
    document = key >> np.uint64(row_bits)
    is_first = np.ones(len(key), dtype=np.bool_)
    is_first[1:] = document[1:] != document[:-1]
    return (key & np.uint64((1 << row_bits) - 1)).astype(np.int64), is_first


def _codes(docids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Small integers that are equal where docids are, and in the same order."""
    words = [docids[:, word] for word in range(docids.shape[1])]
    order = np.argsort(words[0]) if len(words) == 1 else np.lexsort(words[::-1])
    is_new = np.zeros(len(order), dtype=np.bool_)
    for word in words:
        ordered = word[order]
        is_new[1:] |= ordered[1:] != ordered[:-1]
    codes = np.empty(len(order), dtype=np.int64)
    codes[order] = np.cumsum(is_new)
    return codes
