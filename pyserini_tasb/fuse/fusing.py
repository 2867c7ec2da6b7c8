"""Runs to one run, block of queries by block of queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.columnar import RunTable
from pyserini_tasb.evaluate.columnar.in_order import InOrder
from pyserini_tasb.evaluate.columnar.ranking import rank_order
from pyserini_tasb.evaluate.columnar.run_table import concatenated, query_blocks
from pyserini_tasb.fuse.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.evaluate.runs import Run
    from pyserini_tasb.fuse.fusion import Fusion


def fuse_runs(runs: Sequence[Run], fusion: Fusion) -> Run:
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
