"""Pairs on disk while their store is built: taken in any order, given back query by query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.train.store.pair_store import Supervision

CHUNK = 1 << 19
BUCKET_ROWS = 1 << 21
BUCKET_QUERIES = 1 << 16  # so that a query's number in its bucket fits 16 bits, which numpy sorts by radix
COLUMNS = {"scores": 2, "margins": 1, "labels": 0}


@dataclass(frozen=True)
class PairRows:
    """Some pairs, by indices into the builder's texts.

    Args:
        queries: [rows].
        positives: [rows].
        negatives: [rows].
        values: float32 [rows, 2] scores of positive and negative, or [rows, 1] margins, or [rows, 0].
    """

    queries: NDArray[np.integer]
    positives: NDArray[np.integer]
    negatives: NDArray[np.integer]
    values: NDArray[np.float32]

    def only(self, kept: NDArray[np.bool_]) -> PairRows:
        """The pairs where `kept` is true."""
        if kept.all():
            return self
        return PairRows(self.queries[kept], self.positives[kept], self.negatives[kept], self.values[kept])


class RowSpool:
    """A file of pairs, and how many there are of each query.

    Memory: a few bytes for each query and passage, and one bucket of rows (2 million, or all of a single query).

    Args:
        folder: for files that the caller removes.
        supervision: what a row's values are.
    """

    def __init__(self, folder: Path, supervision: Supervision) -> None:
        self._folder = folder
        self.columns = COLUMNS[supervision]
        self._dtype = np.dtype(
            [("query", "<u4"), ("positive", "<u4"), ("negative", "<u4"), ("values", "<f4", (self.columns,))]
        )
        self._file = (folder / "rows").open("wb")
        self.rows = 0
        self.counts = np.zeros(0, np.int64)
        """[queries seen] rows of each query."""
        self.used_passages = np.zeros(0, np.bool_)
        """[passages seen] which passages some row has."""

    def append(self, rows: PairRows) -> None:
        """Add rows."""
        if not len(rows.queries):
            return
        queries, counts = np.unique(rows.queries, return_counts=True)
        self.counts = _grown(self.counts, int(queries[-1]) + 1)
        self.counts[queries] += counts
        self.used_passages = _grown(self.used_passages, int(max(rows.positives.max(), rows.negatives.max())) + 1)
        self.used_passages[rows.positives] = True
        self.used_passages[rows.negatives] = True
        records = np.empty(len(rows.queries), self._dtype)
        records["query"], records["positive"], records["negative"] = rows.queries, rows.positives, rows.negatives
        # Adding 0 makes one of the two zeros, which sort as equal and have different bytes.
        np.add(rows.values, np.float32(0), out=records["values"])
        if not np.isfinite(records["values"]).all():
            raise ValueError("a score is not finite")
        self._file.write(records.data)
        self.rows += len(records)

    def sorted_buckets(self) -> Iterator[NDArray[Any]]:
        """All rows, sorted by query, positive, negative and values; no query is in two of the arrays yielded.

        Fields of the arrays: `query`, `positive`, `negative`, `values`.
        """
        self._file.close()
        bounds = _bucket_bounds(self.counts)
        paths = [self._folder / f"bucket{number}" for number in range(len(bounds) - 1)]
        self._partition(np.repeat(np.arange(len(paths), dtype=np.uint16), np.diff(bounds)), paths)
        for path, first in zip(paths, bounds[:-1], strict=True):
            if path.exists():
                rows = np.fromfile(path, self._dtype)
                path.unlink()
                yield rows[_sorting(rows, first)]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _partition(self, bucket_of: NDArray[np.uint16], paths: list[Path]) -> None:
        spool = self._folder / "rows"
        with spool.open("rb") as file:
            while len(rows := np.fromfile(file, self._dtype, CHUNK)):
                buckets = bucket_of[rows["query"]]
                rows = rows[np.argsort(buckets, kind="stable")]
                ends = np.cumsum(np.bincount(buckets, minlength=len(paths)))
                for path, part in zip(paths, np.split(rows, ends[:-1]), strict=True):
                    if len(part):
                        with path.open("ab") as bucket:
                            bucket.write(np.ascontiguousarray(part).data)
        spool.unlink()


def _bucket_bounds(counts: NDArray[np.int64]) -> list[int]:
    """Where to cut the queries so that each bucket is small, unless a single query is not."""
    ends = np.cumsum(counts)
    bounds = [0]
    while bounds[-1] < len(counts):
        first = bounds[-1]
        before = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, before + BUCKET_ROWS, side="right"))
        bounds.append(min(max(last, first + 1), first + BUCKET_QUERIES, len(counts)))
    return bounds


def _sorting(rows: NDArray[Any], first: int) -> NDArray[np.int64]:
    # Two sorts, both of the kinds that numpy has vectorised, take a sixth of the time of lexsort over all columns.
    passages = rows["positive"].astype(np.uint64) << np.uint64(32) | rows["negative"]
    local = (rows["query"] - np.uint32(first)).astype(np.uint16)
    order = np.argsort(passages)
    order = order[np.argsort(local[order], kind="stable")]
    passages, local = passages[order], local[order]
    new_pair = np.ones(len(rows) + 1, np.bool_)
    new_pair[1:-1] = (passages[1:] != passages[:-1]) | (local[1:] != local[:-1])
    # What is left is to sort the rows of one pair by their values.
    tied = np.flatnonzero(~(new_pair[:-1] & new_pair[1:]))
    columns = reversed(rows["values"][order[tied]].T)
    order[tied] = order[tied][np.lexsort((*columns, np.cumsum(new_pair[:-1])[tied]))]
    return order


def _grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    if len(array) >= length:
        return array
    grown = np.zeros(max(length, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown
