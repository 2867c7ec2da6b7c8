"""The candidates of some queries: every document that one of the runs has, with what each run says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.columnar.packed_text import differs_from_row_before, widened

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
        # Of each row, where in [candidates, runs] it belongs, and what stands there: its number within its run.
        columns = np.repeat(np.arange(len(tables)), [len(table.scores) for table in tables])
        numbers = np.concatenate([np.arange(len(table.scores)) for table in tables])
        order = _order(queries, docids)
        queries, docids = queries.take(order), docids.take(order, axis=0)
        is_first = differs_from_row_before(docids)
        is_first[1:] |= queries[1:] != queries[:-1]
        first = np.flatnonzero(is_first)
        rows = np.full(len(first) * len(tables), -1, dtype=np.int64)
        rows[(np.cumsum(is_first) - 1) * len(tables) + columns.take(order)] = numbers.take(order)
        queries = queries.take(first)
        counts = np.bincount(queries, minlength=len(tables[0].qids))
        return cls(queries, docids.take(first, axis=0), rows.reshape(-1, len(tables)), counts)

    @property
    def present(self) -> NDArray[np.bool_]:
        """[candidates, runs] whether the run has the document."""
        return np.asarray(self.rows >= 0)

    def kept(self, mask: NDArray[np.bool_]) -> Pool:
        """Some of the candidates."""
        queries = self.queries[mask]
        counts = np.bincount(queries, minlength=len(self.counts))
        return Pool(queries, self.docids[mask], self.rows[mask], counts)


def _order(queries: NDArray[np.int64], docids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Row numbers by query, ascending, and then docid, descending."""
    words = [docids[:, word] for word in range(docids.shape[1])]
    by_docid = (np.argsort(words[0]) if len(words) == 1 else np.lexsort(words[::-1]))[::-1]
    # Few queries are small integers, which numpy sorts by radix.
    small = queries.astype(np.min_scalar_type(int(queries.max(initial=0))))
    return np.asarray(by_docid.take(np.argsort(small.take(by_docid), kind="stable")))
