"""Building a pair store out of core: rows come in any order, the same rows give the same bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pyserini_tasb.artifacts import write_manifest
from pyserini_tasb.bars import hidden
from pyserini_tasb.data.pair_store import (
    KIND,
    KNOWN_OFFSETS,
    KNOWN_POSITIVES,
    MARGINS,
    NEGATIVES,
    PAIR_OFFSETS,
    PASSAGES,
    POSITIVES,
    QUERIES,
    SCORES,
    VERSION,
    Agreement,
)
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.arrays import ArrayFile
from pyserini_tasb.formats.text_store import TextStore, copy_text_store
from pyserini_tasb.outputs import new_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray

    from pyserini_tasb.data.pair_store import Supervision


CHUNK = 1 << 19
BUCKET_ROWS = 1 << 21
BUCKET_QUERIES = 1 << 16  # so that a query's number in its bucket fits 16 bits, which numpy sorts by radix
SCRATCH = "scratch"
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


class PairStoreBuilder:
    """Builds a pair store; a context manager. The store is there once the manager is left, and not a moment before.

        with PairStoreBuilder(folder, "scores") as builder:
            builder.add(PairRows(queries, positives, negatives, values))
            builder.finish(query_texts, passage_texts)

    Rows of a query are sorted by positive, negative and values; of rows equal in all of these one is kept. Only texts
    that a row or a known positive needs are stored, in the order of their source.

    Args:
        folder: absent or empty, unless `overwrite`.
        supervision: what is known of each pair.
        overwrite: replace a store in `folder`, once the new one is complete.

    Attributes:
        scratch: a folder for the caller's files, which are not needed any longer after `finish`.

    Raises:
        TasbError: `folder` is in the way, or the disk refuses.
    """

    scratch: Path

    def __init__(self, folder: Path, supervision: Supervision, *, overwrite: bool = False) -> None:
        self.supervision = supervision
        self._folder = folder
        self._finished = False
        self._new_folder = new_folder(folder, overwrite=overwrite)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._beside = stack.enter_context(self._new_folder)
            self.scratch = self._beside / SCRATCH
            self.scratch.mkdir()
            self._spool = stack.enter_context(contextlib.closing(RowSpool(self.scratch, self.supervision)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._stack:
            if error:
                raise error
            if not self._finished:
                raise RuntimeError("the builder was left before finish()")

    def add(self, rows: PairRows) -> None:
        """Add pairs, as indices into the texts that `finish` will get.

        Raises:
            ValueError: a score is not finite.
        """
        self._spool.append(rows)

    def finish(
        self,
        queries: TextStore,
        passages: TextStore,
        *,
        known_positives: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
        notes: Mapping[str, Any] | None = None,
        check: Callable[[Agreement], None] | None = None,
    ) -> None:
        """Write all files of the store.

        Args:
            queries: what the rows' queries index.
            passages: what the rows' positives and negatives index.
            known_positives: more relevant passages than the pairs show: indices of queries, and of their passages.
                Those of queries without pairs are left out.
            notes: what else the manifest shall say, e.g. the sources.
            check: gets the teacher's agreement with the labels before the texts are copied, and may raise an error.

        Raises:
            TasbError: there is not one row, or the disk refuses.
        """
        if not self._spool.rows:
            raise TasbError(
                where=str(self._folder), expected="at least one pair", found="none", do="check the sources of the pairs"
            )
        has_pairs = np.zeros(len(queries), np.bool_)
        has_pairs[np.flatnonzero(self._spool.counts)] = True
        needed = np.zeros(len(passages), np.bool_)
        needed[np.flatnonzero(self._spool.used_passages)] = True
        known_queries, known_passages = known_positives or (np.zeros(0, np.int64), np.zeros(0, np.int64))
        of_pairs = has_pairs[known_queries]
        known_queries, known_passages = known_queries[of_pairs], known_passages[of_pairs]
        needed[known_passages] = True

        from tqdm.auto import tqdm

        query_numbers, passage_numbers = _numbers(has_pairs), _numbers(needed)
        known = np.unique(passage_keys(query_numbers[known_queries], passage_numbers[known_passages]))
        with (
            PairArrays(self._beside, self.supervision, int(has_pairs.sum()), known) as arrays,
            tqdm(
                total=self._spool.rows, desc="sorting pairs", unit=" rows", unit_scale=True, disable=hidden(None)
            ) as progress,
        ):
            for rows in self._spool.sorted_buckets():
                arrays.append(
                    query_numbers[rows["query"]],
                    passage_numbers[rows["positive"]],
                    passage_numbers[rows["negative"]],
                    rows["values"],
                )
                progress.update(len(rows))
        if check:
            check(arrays.agreement)
        for name, source, chosen in ((QUERIES, queries, has_pairs), (PASSAGES, passages, needed)):
            (self._beside / name).mkdir()
            copy_text_store(self._beside / name, source, np.flatnonzero(chosen))
        shutil.rmtree(self.scratch)
        counts = {"queries": int(has_pairs.sum()), "passages": int(needed.sum())}
        content = {"supervision": self.supervision, **counts, **arrays.statistics(), **(notes or {})}
        write_manifest(self._beside, KIND, VERSION, content)
        self._finished = True


def _numbers(chosen: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Indices in the store, for those chosen from the source."""
    return np.cumsum(chosen, dtype=np.uint32) - np.uint32(1)


class RowSpool:
    """A file of pairs, and how many there are of each query.

    Memory: a few bytes for each query and passage, and one bucket of rows (2 million, or all of a single query).

    Args:
        folder: a folder for temporary files, which the caller removes.
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


class PairArrays:
    """The array files of a pair store; a context manager.

    Args:
        folder: the folder of the store.
        supervision: what a row's values are.
        queries: how many the store has; each has at least one row.
        known: sorted distinct `passage_keys` of positives beyond those of the rows.

    Attributes:
        agreement: how far the teacher agrees with the labels, in the rows so far.
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
        """The manifest's numbers of the pairs."""
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
