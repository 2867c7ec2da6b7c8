"""A run as columns, and the order of hits: by score, then docid, both descending, as trec_eval ranks."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import FAULTS_SHOWN, LONGEST_LINE, split_columns
from pyserini_tasb.formats.text_columns import pack, unpack, widened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray


Value = TypeVar("Value")

RunDict: TypeAlias = dict[str, dict[str, float]]
"""qid → docid → score. Only the score ranks a document, not its place in the dictionary."""


def ranked_docids(ranking: Mapping[str, float], *, single_precision: bool = True) -> list[str]:
    """Docids, best first: by score and then docid, both descending.

    Args:
        ranking: docid → score, in any order.
        single_precision: compare scores in fp32, as trec_eval does; what differs by less is a tie, and what fp32 cannot
            hold is infinite.
    """
    scores = np.fromiter(ranking.values(), np.float64, len(ranking))
    if single_precision:
        with np.errstate(over="ignore"):
            scores = scores.astype(np.float32).astype(np.float64)
    return [docid for _, docid in sorted(zip(scores.tolist(), ranking, strict=True), reverse=True)]


def without_own_documents(by_query: Mapping[str, dict[str, Value]]) -> dict[str, dict[str, Value]]:
    """A run or qrels without each query's own document, which is the one whose docid is the query's id.

    Args:
        by_query: qid → docid → score or grade. All queries stay, even with no document left.
    """
    return {
        qid: {docid: value for docid, value in judged.items() if docid != qid} if qid in judged else judged
        for qid, judged in by_query.items()
    }


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


_SIGN = np.uint64(1 << 63)


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


ROWS_AT_ONCE = 1 << 15  # for the reason of `run_files.BLOCK_BYTES`


@dataclass(frozen=True, eq=False)
class RunTable:
    """Ranked documents of some queries: each query's rows by score, then docid, both descending, as trec_eval does.

    Attributes:
        qids: the blocks, in the order of the file.
        starts: int64, shape (queries + 1,); rows `starts[q]` to `starts[q + 1]` are those of query q.
        docids: uint64, shape (rows, words): bytes of the docid, big-endian, then zeros. They compare as the text does.
        scores: float64, shape (rows,); finite.
    """

    qids: tuple[str, ...]
    starts: NDArray[np.int64]
    docids: NDArray[np.uint64]
    scores: NDArray[np.float64]

    @classmethod
    def from_run(cls, run: Mapping[str, Mapping[str, float]], *, name: str = "run") -> RunTable:
        """A table of a run in memory.

        Args:
            run: qid → docid → score.
            name: what to call it in errors.

        Raises:
            TasbError: an id is empty, not UTF-8 or has white space or a NUL in it, or a score is not finite.
        """
        counts = np.fromiter(map(len, run.values()), np.int64, len(run))
        docids = [docid for ranking in run.values() for docid in ranking]
        scores = np.array([score for ranking in run.values() for score in ranking.values()], dtype=np.float64)
        return cls.from_columns(list(run), counts, docids, scores, name=name)

    @classmethod
    def from_columns(
        cls,
        qids: Sequence[str],
        counts: NDArray[np.int64],
        docids: list[str],
        scores: NDArray[np.float64],
        *,
        name: str = "run",
    ) -> RunTable:
        """A table of rows in memory, which it ranks.

        Args:
            qids: different queries, in the order of their rows.
            counts: rows of each query, shape (queries,).
            docids: the docids of each row, different within a query.
            scores: the scores of each row, shape (rows,).
            name: what to call the run in errors.

        Raises:
            TasbError: as `from_run`.
        """
        _require_columns(qids, counts, docids, scores, name)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(tuple(qids), starts, pack([docid.encode() for docid in docids]), scores).ranked()

    def to_run(self) -> RunDict:
        """The same as dictionaries, in rank order."""
        docids = [docid.decode() for docid in unpack(self.docids).tolist()]
        bounds = zip(self.qids, self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        return {
            qid: dict(zip(docids[start:end], self.scores[start:end].tolist(), strict=True))
            for qid, start, end in bounds
        }

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of each query, shape (queries,)."""
        return np.diff(self.starts)

    @property
    def row_queries(self) -> NDArray[np.int64]:
        """Each row's query number, shape (rows,)."""
        return np.repeat(np.arange(len(self.qids)), self.lengths)

    def blocks(self) -> Iterator[RunTable]:
        """The same in tables of about `ROWS_AT_ONCE` rows, which share this one's memory."""
        for first, last in query_blocks(self.lengths):
            starts = self.starts[first : last + 1]
            rows = slice(starts[0], starts[-1])
            yield RunTable(self.qids[first:last], starts - starts[0], self.docids[rows], self.scores[rows])

    def taken(self, queries: NDArray[np.int64], depth: int | None = None) -> RunTable:
        """The first `depth` rows of some queries; a number of -1 is a query without rows, whose qid is empty."""
        known = np.maximum(queries, 0)
        lengths = np.where(queries >= 0, self.starts[known + 1] - self.starts[known], 0)
        lengths = lengths if depth is None else np.minimum(lengths, depth)
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        shifts = self.starts[known] - starts[:-1]
        qids = tuple(self.qids[query] if query >= 0 else "" for query in queries.tolist())
        if len(shifts) and (shifts == shifts[0]).all():  # rows that lie together need no copy
            together = slice(shifts[0], shifts[0] + starts[-1])
            return RunTable(qids, starts, self.docids[together], self.scores[together])
        rows = np.repeat(shifts, lengths) + np.arange(starts[-1])
        return RunTable(qids, starts, self.docids.take(rows, axis=0), self.scores.take(rows))

    def without_own_documents(self, *, by_rank: bool = False) -> RunTable:
        """The same without each query's own document, whose docid is the query's id; a query with no other is dropped.

        Args:
            by_rank: scores are 1 / rank, and ranks are counted anew.
        """
        own, queries = self._own_rows()
        if not len(own):
            return self
        scores = self.scores
        if by_rank:
            dropped = np.full(len(self.qids), -np.inf)
            dropped[queries] = scores[own]
            below = np.flatnonzero(scores < np.repeat(dropped, self.lengths))
            scores = scores.copy()
            scores[below] = 1 / (np.rint(1 / scores[below]) - 1)
        lengths = self.lengths
        lengths[queries] -= 1
        left = np.flatnonzero(lengths)
        return RunTable(
            tuple(self.qids[query] for query in left.tolist()),
            np.concatenate([[0], np.cumsum(lengths[left])]).astype(np.int64),
            np.delete(self.docids, own, axis=0),
            np.delete(scores, own),
        )

    def _own_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows whose docid is their query's id, and the numbers of these queries."""
        qids = pack([qid.encode() for qid in self.qids])
        rows = np.flatnonzero(np.repeat(qids[:, 0], self.lengths) == self.docids[:, 0])  # few, or all ids begin alike
        queries = np.searchsorted(self.starts, rows, side="right") - 1
        width = max(qids.shape[1], self.docids.shape[1])
        is_own = (widened(self.docids[rows], width) == widened(qids, width)[queries]).all(axis=1)
        return rows[is_own], queries[is_own]

    def ranked(self) -> RunTable:
        """The same with each query's rows in their order."""
        docids, scores = self.docids, self.scores
        for first, last in query_blocks(self.lengths):
            rows = slice(self.starts[first], self.starts[last])
            queries = np.repeat(np.arange(first, last), self.lengths[first:last])
            if _descend(queries, self.scores[rows]):  # as most runs are written
                continue
            if scores is self.scores:
                docids, scores = docids.copy(), scores.copy()
            order = rank_order(queries, self.scores[rows], self.docids[rows])
            docids[rows], scores[rows] = self.docids[rows].take(order, axis=0), self.scores[rows].take(order)
        return RunTable(self.qids, self.starts, docids, scores)


def _descend(queries: NDArray[np.int64], scores: NDArray[np.float64]) -> bool:
    """True if no score of a query is equal to the one before or above it."""
    return bool(((scores[1:] < scores[:-1]) | (queries[1:] != queries[:-1])).all())


def concatenated(tables: Sequence[RunTable]) -> RunTable:
    """Tables of different queries as one."""
    width = max((table.docids.shape[1] for table in tables), default=1)
    lengths = [table.lengths for table in tables]
    return RunTable(
        tuple(qid for table in tables for qid in table.qids),
        np.concatenate([[0], np.cumsum(np.concatenate([*lengths, np.zeros(0, dtype=np.int64)]))]).astype(np.int64),
        np.concatenate([np.zeros((0, width), dtype=np.uint64), *(widened(table.docids, width) for table in tables)]),
        np.concatenate([np.zeros(0), *(table.scores for table in tables)]),
    )


def query_blocks(lengths: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First query and the one behind the last, of blocks of about `ROWS_AT_ONCE` rows.

    Args:
        lengths: rows of each query.
    """
    if not len(lengths):
        return []
    block = (np.cumsum(lengths) - 1) // ROWS_AT_ONCE
    bounds = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(lengths)]
    return [(first, last) for first, last in itertools.pairwise(bounds) if first < last]


def _require_columns(
    qids: Sequence[str], counts: NDArray[np.int64], docids: list[str], scores: NDArray[np.float64], name: str
) -> None:
    if _are_columns(docids) and all(map(is_one_column, qids)) and np.isfinite(scores).all():
        return
    found, row = [], 0
    for qid, count in zip(qids, counts.tolist(), strict=True):
        found += [] if is_one_column(qid) else [f"qid {qid!r}"]
        for docid, score in zip(docids[row : row + count], scores[row : row + count].tolist(), strict=True):
            found += [] if is_one_column(docid) else [f"docid {docid!r} of query {qid}"]
            found += [] if math.isfinite(score) else [f"score {score} of query {qid}, document {docid}"]
        row += count
    if found:
        raise TasbError(
            where=name,
            expected=f"ids without white space or NUL, of at most {LONGEST_LINE:,} characters, and finite scores",
            found="; ".join(found[:FAULTS_SHOWN]) + ("; …" if len(found) > FAULTS_SHOWN else ""),
            do="fix the program that made this run",
        )


def _are_columns(texts: list[str]) -> bool:
    if max(map(len, texts), default=0) > LONGEST_LINE:
        return False
    joined = " ".join(texts)
    if joined.isascii() and "\0" not in joined:  # all at once is 20 times as fast
        return joined.split() == texts
    return all(map(is_one_column, texts))


def is_one_column(text: str) -> bool:
    """True if a text can be a column of a run's line: not empty or too long, without white space and NUL, and UTF-8."""
    try:
        return "\0" not in text and split_columns(text) == [text]
    except ValueError:
        return False
