"""The candidates of some queries: every document that one of the runs has, and what each run says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.text_columns import differs_from_row_before, widened
from pyserini_tasb.fusion.methods import DROP, MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.formats.run_table import RunTable
    from pyserini_tasb.fusion.methods import Fusion


@dataclass(frozen=True, eq=False)
class Candidates:
    """All that a fusion method sees; each part is made when it is asked for.

    Attributes:
        pool: which documents they are.
        lists: the ranked list of each run.
        fusion: the choices made.
    """

    pool: Pool
    lists: Sequence[ScoredLists]
    fusion: Fusion

    @classmethod
    def of(cls, tables: Sequence[RunTable], fusion: Fusion) -> Candidates:
        """The candidates in tables of the same queries in the same order, cut to the depth already.

        Raises:
            TasbError: a score below what was called the lowest possible.
        """
        lists = [ScoredLists.of(table, fusion.minimum(run)) for run, table in enumerate(tables)]
        for run, (table, of_run) in enumerate(zip(tables, lists, strict=True)):
            _require_minimum(run, table, of_run)
        pool = Pool.of(tables)
        if fusion.chosen_missing == DROP:
            pool = pool.kept(np.asarray(pool.present.all(axis=1)))
        return cls(pool, lists, fusion)

    @property
    def present(self) -> NDArray[np.bool_]:
        """[candidates, runs] whether the run has the document."""
        return self.pool.present

    def scores(self) -> NDArray[np.float64]:
        """[candidates, runs] normalised; where a run lacks the document, what it is to have there."""
        rule, normalisation = MISSING[self.fusion.chosen_missing], self.fusion.chosen_normalisation
        scores = np.empty(self.pool.rows.shape)
        for run, lists in enumerate(self.lists):
            rows = self.pool.rows[:, run]
            # Behind the run's own, one for each query.
            values = np.concatenate([normalisation.values(lists), rule(normalisation, lists)])
            scores[:, run] = values[np.where(rows >= 0, rows, len(lists.scores) + self.pool.queries)]
        return scores

    def ranks(self) -> NDArray[np.float64]:
        """[candidates, runs] from 1 on; infinite where a run lacks the document."""
        ranks = np.empty(self.pool.rows.shape)
        for run, lists in enumerate(self.lists):
            ranks[:, run] = np.concatenate([lists.ranks, [np.inf]])[self.pool.rows[:, run]]
        return ranks

    def lengths(self) -> NDArray[np.int64]:
        """[candidates, runs] documents that the run has for the candidate's query."""
        return np.stack([lists.lengths[self.pool.queries] for lists in self.lists], axis=1)

    def counts(self) -> NDArray[np.int64]:
        """[candidates] how many candidates each one's query has."""
        return np.asarray(self.pool.counts[self.pool.queries])


def _require_minimum(run: int, table: RunTable, lists: ScoredLists) -> None:
    if lists.theoretical_minimum is None:
        return
    below = np.flatnonzero((lists.lengths > 0) & (lists.lowest < lists.theoretical_minimum))
    if len(below):
        query = int(below[0])
        raise TasbError(
            where=f"run {run + 1}, query {table.qids[query]}",
            expected=f"no score below {lists.theoretical_minimum}, the lowest possible",
            found=f"{lists.lowest[query]}",
            do="give the lowest score that the run's model can give, or another normalisation",
        )


@dataclass(frozen=True, eq=False)
class ScoredLists:
    """Scores of one run, best first within each query, and the place and range of each.

    An empty list has 0 for its lowest score and 1 for its highest, as in Pyserini's HybridSearcher.

    Attributes:
        scores: float64, shape (rows,).
        starts: int64, shape (queries + 1,).
        ranks: int64 from 1 on, shape (rows,).
        lowest: shape (queries,); `highest` likewise.
        theoretical_minimum: the lowest score that the run's model can give; None where it is not known.
    """

    scores: NDArray[np.float64]
    starts: NDArray[np.int64]
    ranks: NDArray[np.int64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    theoretical_minimum: float | None = None

    @classmethod
    def of(cls, table: RunTable, theoretical_minimum: float | None = None) -> ScoredLists:
        """The lists of a table."""
        lengths, filled = table.lengths, table.lengths > 0
        lowest, highest = np.zeros(len(lengths)), np.ones(len(lengths))
        highest[filled] = table.scores[table.starts[:-1][filled]]
        lowest[filled] = table.scores[table.starts[1:][filled] - 1]
        ranks = np.arange(1, len(table.scores) + 1) - np.repeat(table.starts[:-1], lengths)
        return cls(table.scores, table.starts, ranks, lowest, highest, theoretical_minimum)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of each query, shape (queries,)."""
        return np.diff(self.starts)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of `values` over each query's rows, shape (queries,)."""
        sums, filled = np.zeros(len(self.starts) - 1), self.lengths > 0
        if filled.any():
            sums[filled] = np.add.reduceat(values, self.starts[:-1][filled])
        return sums


@dataclass(frozen=True, eq=False)
class Pool:
    """The documents that are candidates, by query and then docid, the latter descending.

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
