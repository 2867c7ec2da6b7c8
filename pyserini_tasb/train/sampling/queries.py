"""Which queries make a batch: any (paper, Eq. 9), or those of few clusters (Eq. 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.sampling.ragged import list_numbers, list_starts
from pyserini_tasb.train.sampling.shuffle import Shuffle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.train.sampling.uniforms import Uniforms


class QueryChoice(Protocol):
    """Chooses a batch's queries."""

    def choose(self, count: int, uniforms: Uniforms) -> NDArray[np.int64]:
        """`count` distinct queries."""


class UniformQueries:
    """All queries are equally likely.

    Args:
        usable: [queries] whether a query may be drawn.
    """

    def __init__(self, usable: NDArray[np.bool_]) -> None:
        self._queries: NDArray[np.int64] = np.flatnonzero(usable)

    def __len__(self) -> int:
        return len(self._queries)

    def choose(self, count: int, uniforms: Uniforms) -> NDArray[np.int64]:
        """`count` distinct queries."""
        places = Shuffle(len(self._queries), uniforms).take(count)
        return self._queries[np.array(places, np.int64)]


class ClusteredQueries:
    """Topic-aware sampling: queries of `clusters_per_batch` clusters, all clusters equally likely whatever their size.

    Every cluster drawn supplies the batch's share, ⌊b / n⌋ queries, or all it has left if that is less; further
    clusters follow until the batch is full. Once all were drawn a cluster can be drawn again, and then supplies other
    queries: no query is ever twice in a batch.

    Args:
        clusters: the queries of each cluster; queries in no cluster are never drawn.
        usable: [queries] whether a query may be drawn; clusters without such queries are never drawn.
        clusters_per_batch: n.

    Raises:
        TasbError: a query that does not exist, or is in two clusters.
    """

    def __init__(
        self, clusters: Sequence[NDArray[np.int64]], usable: NDArray[np.bool_], clusters_per_batch: int
    ) -> None:
        counts = np.array([len(cluster) for cluster in clusters], np.int64)
        members = np.concatenate([np.empty(0, np.int64), *clusters])
        labels = list_numbers(counts)
        _refuse_unknown(members, labels, len(usable))
        _refuse_repeated(members, labels)
        kept = usable[members]
        sizes = np.bincount(labels[kept], minlength=len(counts))
        self._sizes, self._starts = sizes.tolist(), list_starts(sizes).tolist()
        self._members = members[kept]
        self._per_batch = clusters_per_batch

    def __len__(self) -> int:
        return len(self._members)

    def choose(self, count: int, uniforms: Uniforms) -> NDArray[np.int64]:
        """`count` distinct queries."""
        share = count // self._per_batch
        places: list[int] = []
        queries: dict[int, Shuffle] = {}  # of each cluster drawn so far
        clusters = Shuffle(len(self._sizes), uniforms)
        while len(places) < count:
            if not clusters.remaining:
                clusters = Shuffle(len(self._sizes), uniforms)
            (cluster,) = clusters.take(1)
            if cluster not in queries:
                queries[cluster] = Shuffle(self._sizes[cluster], uniforms)
            wanted = min(share, queries[cluster].remaining, count - len(places))
            start = self._starts[cluster]
            places += [start + place for place in queries[cluster].take(wanted)]
        chosen: NDArray[np.int64] = self._members[np.array(places, np.int64)]
        return chosen


def _refuse_unknown(members: NDArray[np.int64], labels: NDArray[np.int64], queries: int) -> None:
    unknown = np.flatnonzero((members < 0) | (members >= queries))
    if len(unknown):
        first = unknown[0]
        raise TasbError(
            expected=f"clusters of the pair store's {queries:,} queries, numbered from 0",
            found=f"query {members[first]} in cluster {labels[first]}, and {len(unknown) - 1} more such queries",
            do="use the clusters made from this pair store (`tasb cluster`)",
        )


def _refuse_repeated(members: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
    order = np.argsort(members, kind="stable")
    repeated = np.flatnonzero(np.diff(members[order]) == 0)
    if len(repeated):
        first, second = order[repeated[0]], order[repeated[0] + 1]
        raise TasbError(
            expected="every query in one cluster, once",
            found=f"query {members[first]} in cluster {labels[first]} and again in cluster {labels[second]}, "
            f"and {len(repeated) - 1} more such cases",
            do="make the clusters again (`tasb cluster`)",
        )
