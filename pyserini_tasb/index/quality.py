"""What an index finds of what exact search finds, and how fast."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pyserini_tasb.index.exact import exact_top

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.index.vector_source import VectorSource

    Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]
    """One query's vector [1, dimension] and a depth → the rows found [at most depth]."""

DEPTHS = (10, 100, 1_000)  # the last is what `tasb search` asks for
TIES = 100
WARM_UP = 3


@dataclass(frozen=True)
class Quality:
    """Measured with sample queries.

    Args:
        recall: depth → share of the exact top that a search for that many hits finds, mean over queries. Where there
            are fewer vectors than that, all of them are the exact top.
        hits: depth → how many hits that search finds, mean over queries.
        p50, p99: milliseconds of one query, searched alone to the greatest depth.
    """

    recall: dict[int, float]
    hits: dict[int, float]
    p50: float
    p99: float


class Build(Protocol):
    """What makes an index, and searches it."""

    @property
    def described(self) -> str: ...
    def write(self, source: VectorSource, folder: Path) -> None: ...
    def search(self, folder: Path, source: VectorSource, among: NDArray[np.int64]) -> Search: ...
    def advice(self, folder: Path) -> str:
        """Advice on how to get better answers."""
        ...


def measure(build: Build, folder: Path, source: VectorSource, queries: NDArray[np.float32]) -> Quality:
    """Search every query alone and compare with exact search over the source.

    Args:
        build: what made the index.
        folder: of the index.
        source: the vectors that it is of.
        queries: [queries, dimension].
    """
    # Deeper than is looked at: what ties with the last hit that counts is as good as that one.
    scores, rows = exact_top(source, queries, max(DEPTHS) + TIES)
    search = build.search(folder, source, rows)
    recall, hits = {}, {}
    for depth in DEPTHS:  # each by a search of its own: graphs and refinements look further when asked for more
        for query in queries[:WARM_UP]:
            search(query[np.newaxis], depth)
        found, milliseconds = [], []
        for query in queries:
            start = time.perf_counter()
            found.append(search(query[np.newaxis], depth))
            milliseconds.append(1000 * (time.perf_counter() - start))
        recall[depth] = _recall(scores, rows, found, depth)
        hits[depth] = float(np.mean([len(each) for each in found]))
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return Quality(recall, hits, float(p50), float(p99))


def _recall(scores: NDArray[np.float32], rows: NDArray[np.int64], found: list[NDArray[np.int64]], depth: int) -> float:
    depth = min(depth, scores.shape[1])
    shares = []
    for query, hits in enumerate(found):
        # Equal vectors get scores that differ in their last bits, by where a block of the multiplication ends.
        least = scores[query, depth - 1] - 1e-6 * abs(scores[query, depth - 1])
        good = rows[query, scores[query] >= least]
        shares.append(min(len(np.intersect1d(hits[:depth], good)), depth) / depth)
    return float(np.mean(shares))
