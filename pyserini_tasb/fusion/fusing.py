"""Runs to one run: every choice checked, runs that belong together, block of queries by block of queries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.run_table import RunTable, concatenated, query_blocks, rank_order
from pyserini_tasb.formats.text_columns import unpack
from pyserini_tasb.fusion.candidates import Evidence, Pool
from pyserini_tasb.fusion.methods import METHODS, MISSING
from pyserini_tasb.fusion.normalisations import NORMALISATIONS
from pyserini_tasb.workers import InOrder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.formats.runs import RunDict
    from pyserini_tasb.fusion.methods import Method
    from pyserini_tasb.fusion.normalisations import Normalisation


DEPTH = 1000
RRF_K = 60.0


@dataclass(frozen=True)
class Fusion:
    """A method with all it needs.

    Attributes:
        method: of `METHODS`.
        weights: one for each run, multiplied with what the run contributes; None is 1 for each.
        normalisation: of `NORMALISATIONS`; of each run's list for a query.
        missing: of `MISSING`, what a document that a run lacks gets there; None is the method's own rule.
        theoretical_minimums: one for each run, the lowest score that its model can give; None where it is not known.
        rrf_k: of RRF.
        depth: documents taken of each list; None is all.
        output_depth: documents kept for each query; None is all.
    """

    method: str = "linear"
    weights: tuple[float, ...] | None = None
    normalisation: str = "none"
    missing: str | None = None
    theoretical_minimums: tuple[float | None, ...] | None = None
    rrf_k: float = RRF_K
    depth: int | None = DEPTH
    output_depth: int | None = DEPTH

    @property
    def chosen_method(self) -> Method:
        """The method itself."""
        return METHODS[self.method]

    @property
    def chosen_normalisation(self) -> Normalisation:
        """The normalisation itself."""
        return NORMALISATIONS[self.normalisation]

    @property
    def chosen_missing(self) -> str:
        """The rule for documents that a run lacks."""
        return self.missing or self.chosen_method.missing

    def weights_of(self, runs: int) -> tuple[float, ...]:
        """One weight for each of so many runs."""
        return self.weights if self.weights is not None else (1.0,) * runs

    def minimum_of(self, run: int) -> float | None:
        """The lowest score that a run's model can give."""
        return None if self.theoretical_minimums is None else self.theoretical_minimums[run]

    def require_fits(self, runs: int) -> None:
        """Refuse what does not go together.

        Args:
            runs: how many are to be fused.

        Raises:
            TasbError: an unknown name, fewer than two runs, numbers that do not fit the runs or are out of range, a
                choice that the method does not make, or a theoretical minimum that is needed and not known.
        """
        method, normalisation = self.chosen_method, self.chosen_normalisation
        if runs < 2:
            raise _mismatch("two runs or more", f"{runs}", "give all runs to --runs")
        self._require_one_each(runs)
        method.require_weights(self.weights_of(runs))
        if self.missing is not None:
            _require_missing(self.missing, self.method, method)
        if not method.uses_scores and self.normalisation != "none":
            found = f"`{self.normalisation}` with `{self.method}`, which looks at ranks only"
            raise _mismatch("no normalisation", found, "leave --normalization out")
        if normalisation.needs_minimum or self.chosen_missing == "theoretical":
            self._require_minimums(runs)
        if not (math.isfinite(self.rrf_k) and self.rrf_k >= 0):
            raise _mismatch("k of RRF from 0 on", f"{self.rrf_k}", "60 is usual")
        for depth in (self.depth, self.output_depth):
            if depth is not None and depth < 1:
                raise _mismatch("a depth of 1 or more", f"{depth}", "1000 is usual")

    def _require_one_each(self, runs: int) -> None:
        for what, values in (("weight", self.weights), ("theoretical minimum", self.theoretical_minimums)):
            if values is not None and len(values) != runs:
                raise _mismatch(f"one {what} for each of the {runs} runs", f"{len(values)}", "give one a run, in order")
        if not all(map(math.isfinite, self.weights_of(runs))):
            raise _mismatch("finite weights", str(self.weights), "give numbers such as 1 0.1")

    def _require_minimums(self, runs: int) -> None:
        without = [str(run + 1) for run in range(runs) if self.minimum_of(run) is None]
        if without:
            raise _mismatch(
                "the lowest score that each run's model can give",
                f"none for run {', '.join(without)}",
                "--minimums: 0 for BM25, -1 for a cosine, one for each run",
            )


def _require_missing(missing: str, name: str, method: Method) -> None:
    MISSING[missing]  # or it says what there is
    if missing not in method.missing_choices:
        raise _mismatch(
            f"for `{name}`: {', '.join(method.missing_choices)}",
            f"`{missing}` for documents that a run lacks",
            "leave --missing out, or choose one of these",
        )


def _mismatch(expected: str, found: str, do: str) -> TasbError:
    return TasbError(expected=expected, found=found, do=do)


# --------
# Whether runs belong together: the same topics, and the same collection.

QUERIES_COMPARED = 100


def require_compatible(tables: Mapping[str, RunTable]) -> list[str]:
    """Refuse runs that cannot belong together.

    Args:
        tables: by the names for errors; the first is what the others are compared with.

    Returns:
        What is merely odd, a sentence each: queries that not all have, runs that share no document.

    Raises:
        TasbError: a run has no query in common with the first; or no document, and ids of another kind.
    """
    (first, table), *others = tables.items()
    notes = []
    for name, other in others:
        shared = sorted(set(table.qids) & set(other.qids))
        if not shared:
            raise TasbError(
                where=name,
                expected=f"queries of {first}: {_examples(table.qids)}",
                found=f"none of them; it has {_examples(other.qids)}",
                do="fuse runs of the same topics",
            )
        for one, count in ((first, len(table.qids)), (name, len(other.qids))):
            if count > len(shared):
                both = f"{first} and {name}"
                notes.append(f"{count - len(shared)} of {count} queries of {one} are not in both {both}")
        if not _share_documents(table, other, shared[:QUERIES_COMPARED]):
            notes.append(_of_no_overlap(first, name, table, other))
    return notes


def _share_documents(table: RunTable, other: RunTable, qids: Sequence[str]) -> bool:
    parts = []
    for one in (table, other):
        numbers = {qid: number for number, qid in enumerate(one.qids)}
        parts.append(one.taken(np.array([numbers[qid] for qid in qids], dtype=np.int64)))
    return bool(Pool.of(parts).present.all(axis=1).any())


def _of_no_overlap(first: str, name: str, table: RunTable, other: RunTable) -> str:
    kinds = [_kind(one) for one in (table, other)]
    examples = [_examples([docid.decode() for docid in unpack(one.docids[:3]).tolist()]) for one in (table, other)]
    if kinds[0] != kinds[1]:
        raise TasbError(
            where=name,
            expected=f"docids of the same collection as {first}, which has {kinds[0]}: {examples[0]}",
            found=f"{kinds[1]}: {examples[1]}; not one document in common",
            do="search the same collection for both, or bring the docids into one form",
        )
    return f"{first} and {name} have not one document in common: {examples[0]} against {examples[1]}; one collection?"


def _kind(table: RunTable) -> str:
    docids = unpack(table.docids[:1000]).tolist()
    return "integers" if all(docid.isdigit() for docid in docids) else "names"


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")


# --------
# Runs to one run, block of queries by block of queries.


def fuse_runs(runs: Sequence[RunDict], fusion: Fusion) -> RunDict:
    """Fuse runs in memory.

    Args:
        runs: each qid → docid → score.
        fusion: how.

    Returns:
        The queries of the first run, then those that only later ones have; each as trec_eval ranks it. A query for
        which no document is left is not there.

    Raises:
        TasbError: as `Fusion.require_fits`; an id or a score that is none; a score below its theoretical minimum.
    """
    tables = [RunTable.from_run(run, name=f"run {number}") for number, run in enumerate(runs, 1)]
    return concatenated(list(fuse_tables(tables, fusion))).to_run()


def fuse_tables(tables: Sequence[RunTable], fusion: Fusion) -> InOrder[RunTable]:
    """Fuse runs as columns; what comes is to be written or concatenated in this order.

    Raises:
        TasbError: as `fuse_runs`.
    """
    fusion.require_fits(len(tables))
    return InOrder(lambda block: _fused(block, fusion), aligned_blocks(tables, fusion.depth))


def aligned_blocks(tables: Sequence[RunTable], depth: int | None) -> Iterator[list[RunTable]]:
    """All runs' rows of some queries at a time, the same queries for each run, cut to a depth.

    Args:
        tables: the runs.
        depth: rows of each query; None is all.
    """
    qids = list(dict.fromkeys(qid for table in tables for qid in table.qids))
    numbers = [{qid: number for number, qid in enumerate(table.qids)} for table in tables]
    queries = [np.array([known.get(qid, -1) for qid in qids], dtype=np.int64) for known in numbers]
    for first, last in query_blocks(_pooled_lengths(tables, queries, depth)):
        names = tuple(qids[first:last])
        taken = [table.taken(of[first:last], depth) for table, of in zip(tables, queries, strict=True)]
        yield [RunTable(names, table.starts, table.docids, table.scores) for table in taken]


def _pooled_lengths(
    tables: Sequence[RunTable], queries: Sequence[NDArray[np.int64]], depth: int | None
) -> NDArray[np.int64]:
    total = np.zeros(len(queries[0]), dtype=np.int64)
    for table, of in zip(tables, queries, strict=True):
        lengths = np.append(table.lengths, 0)[of]  # -1 is the one appended
        total += lengths if depth is None else np.minimum(lengths, depth)
    return total


def _fused(tables: Sequence[RunTable], fusion: Fusion) -> RunTable:
    evidence = Evidence.of(tables, fusion)
    pool, scores = evidence.pool, fusion.chosen_method.fused(evidence)
    if not np.isfinite(scores).all():
        raise TasbError(expected="finite scores", found="some too large for float64", do="choose smaller weights")
    order = rank_order(pool.queries, scores, None)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(pool.counts) - pool.counts, pool.counts)
    kept = order if fusion.output_depth is None else order[ranks < fusion.output_depth]
    counts = np.bincount(pool.queries[kept], minlength=len(tables[0].qids))
    left = np.flatnonzero(counts)
    return RunTable(
        tuple(tables[0].qids[query] for query in left.tolist()),
        np.concatenate([[0], np.cumsum(counts[left])]).astype(np.int64),
        pool.docids.take(kept, axis=0),
        scores.take(kept),
    )
