"""Writing the arrays of a pair store, query by query."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pyserini_tasb.texts.array_files import ArrayFile
from pyserini_tasb.train.store.agreement import Agreement
from pyserini_tasb.train.store.pair_store import (
    KNOWN_OFFSETS,
    KNOWN_POSITIVES,
    MARGINS,
    NEGATIVES,
    PAIR_OFFSETS,
    POSITIVES,
    SCORES,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray

    from pyserini_tasb.train.store.pair_store import Supervision


class PairArrays:
    """The array files of a pair store; a context manager.

    Args:
        folder: of the store.
        supervision: what a row's values are.
        queries: how many the store has; each has at least one row.
        known: sorted distinct `passage_keys` of positives beyond those of the rows.

    Attributes:
        agreement: of the teacher with the labels, in the rows so far.
    """

    def __init__(self, folder: Path, supervision: Supervision, queries: int, known: NDArray[np.uint64]) -> None:
        self._folder, self._known = folder, known
        self._pairs_of = np.zeros(queries, np.int64)
        self._known_of = np.zeros(queries, np.int64)
        self._next_query = 0
        self._repeated = self._contradicting = 0
        self._sum = self._sum_of_squares = 0.0
        self.agreement = Agreement()
        self._stack = contextlib.ExitStack()
        self._positives = self._open(POSITIVES, np.uint32)
        self._negatives = self._open(NEGATIVES, np.uint32)
        self._known_positives = self._open(KNOWN_POSITIVES, np.uint32)
        self._scores = self._open(SCORES, np.float32, 2) if supervision == "scores" else None
        self._margins = self._open(MARGINS, np.float32) if supervision == "margins" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name, counts in ((PAIR_OFFSETS, self._pairs_of), (KNOWN_OFFSETS, self._known_of)):
            self._open(name, np.int64).append(np.concatenate(([0], np.cumsum(counts))))
        self._stack.__exit__(kind, error, at)

    def append(
        self,
        queries: NDArray[np.uint32],
        positives: NDArray[np.uint32],
        negatives: NDArray[np.uint32],
        values: NDArray[np.float32],
    ) -> None:
        """Add all rows of the next queries, sorted by query, positive, negative and values."""
        same_pair = _same_as_before(queries) & _same_as_before(positives) & _same_as_before(negatives)
        repeated = same_pair & _same_as_before(values)
        self._repeated += int(repeated.sum())
        self._contradicting += int((same_pair & ~repeated).sum())
        kept = ~repeated
        queries, positives, values = queries[kept], positives[kept], values[kept]
        self._positives.append(positives)
        self._negatives.append(negatives[kept])
        if self._scores:
            self._scores.append(values)
            self._note_margins(values[:, 0] - values[:, 1])
        if self._margins:
            self._margins.append(values[:, 0])
            self._note_margins(values[:, 0])
        first, end = self._next_query, int(queries[-1]) + 1
        self._pairs_of[first:end] = np.bincount(queries - np.uint32(first), minlength=end - first)
        self._append_known(passage_keys(queries, positives), first, end)
        self._next_query = end

    def statistics(self) -> dict[str, Any]:
        """What the manifest says of the pairs."""
        pairs = int(self._pairs_of.sum())
        statistics: dict[str, Any] = {
            "pairs": pairs,
            "known_positives": int(self._known_of.sum()),
            "pairs_per_query": {
                "min": int(self._pairs_of.min()),
                "median": float(np.median(self._pairs_of)),
                "max": int(self._pairs_of.max()),
            },
            "repeated_rows": self._repeated,
            "contradicting_rows": self._contradicting,
        }
        if self._scores or self._margins:
            mean = self._sum / pairs
            variance = max(self._sum_of_squares / pairs - mean * mean, 0.0)
            statistics["margins"] = {"mean": mean, "deviation": math.sqrt(variance)}
            statistics["agreement"] = dataclasses.asdict(self.agreement)
        return statistics

    def _open(self, name: str, dtype: DTypeLike, columns: int | None = None) -> ArrayFile:
        return self._stack.enter_context(ArrayFile(self._folder / name, dtype, columns))

    def _note_margins(self, margins: NDArray[np.float32]) -> None:
        self._sum += float(margins.sum(dtype=np.float64))
        self._sum_of_squares += float(np.square(margins, dtype=np.float64).sum())
        self.agreement += Agreement.of(margins)

    def _append_known(self, of_rows: NDArray[np.uint64], first: int, end: int) -> None:
        bounds = np.array([first, end], np.uint64) << np.uint64(32)
        start, stop = np.searchsorted(self._known, bounds)
        distinct = of_rows[~_same_as_before(of_rows)]
        keys = np.union1d(distinct, self._known[start:stop]) if start < stop else distinct
        self._known_positives.append(keys.astype(np.uint32))  # the lower half
        queries = (keys >> np.uint64(32)).astype(np.int64)
        self._known_of[first:end] = np.bincount(queries - first, minlength=end - first)


def passage_keys(queries: NDArray[np.integer], passages: NDArray[np.integer]) -> NDArray[np.uint64]:
    """One number for a query and a passage, which sorts by query, then by passage."""
    return queries.astype(np.uint64) << np.uint64(32) | passages.astype(np.uint64)


def _same_as_before(rows: NDArray[Any]) -> NDArray[np.bool_]:
    same = np.zeros(len(rows), np.bool_)
    equal = rows[1:] == rows[:-1]
    same[1:] = equal if equal.ndim == 1 else equal.all(axis=1)
    return same
