"""Vectors whose lengths differ: how they are added to graphs and inverted lists, so that these still find them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyserini_tasb.indexes.vector_source import VectorSource


LOG = logging.getLogger(__name__)

# Below, what follows changes little: `benchmarks/lengths.py`.
LEAST_SPREAD = 0.1
SAMPLE = 10_000
ROWS_AT_ONCE = 4_096


class Adding(Protocol):
    """A way to add all vectors to an index, block by block."""

    def add(self, vectors: NDArray[np.float32]) -> None: ...
    def finish(self) -> None:
        """Finish the index after the last vector."""
        ...


def spread_of_lengths(vectors: NDArray[np.float32]) -> float:
    """The interquartile range of the vectors' lengths over their median: a few that are far longer do not count.

    Lists with one such vector each would take every look of a query, and the others' vectors would not be found.
    """
    low, middle, high = np.quantile(np.linalg.norm(vectors, axis=1), (0.25, 0.5, 0.75))
    return float((high - low) / middle) if middle else 0.0


class AsTheyAre:
    """Vectors added by Faiss itself."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add a block."""
        self._index.add(vectors)

    def finish(self) -> None:
        """Nothing is left to do."""


def graph_of(index: Any) -> Any:
    """The part of an index that is a graph over the vectors (HNSW), or None."""
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return graph_of(index.base_index)
    return index if hasattr(index, "hnsw") else None


class WithLinksByDirection:
    """Vectors added to a graph whose free slots take links to the vectors of the nearest direction.

    By inner products every vector's nearest ones are long, so many short vectors are linked from nowhere. HNSW leaves a
    third of its slots for links empty. The links of a second graph, of the vectors scaled to length 1, go there, which
    is dropped then. Liu et al., Understanding and Improving Proximity Graph based Maximum Inner Product Search, AAAI
    2020, walk two graphs one after the other instead.

    Args:
        index: the whole index.
        graph: its part that is a graph.
    """

    def __init__(self, index: Any, graph: Any) -> None:
        import faiss

        self._index, self._hnsw = index, graph.hnsw
        self._directions: Any = faiss.IndexHNSWFlat(graph.d, self._hnsw.nb_neighbors(1), faiss.METRIC_INNER_PRODUCT)
        self._directions.hnsw.efConstruction = self._hnsw.efConstruction

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add a block to both graphs."""
        import faiss

        self._index.add(vectors)
        scaled = vectors.copy()
        faiss.normalize_L2(scaled)
        self._directions.add(scaled)

    def finish(self) -> None:
        """Fill the first graph's slots."""
        others = self._directions.hnsw
        for (all_links, at), (all_others, others_at) in zip(_links(self._hnsw), _links(others), strict=True):
            links, more = all_links[at], all_others[others_at]
            more[(more[:, :, np.newaxis] == links[:, np.newaxis, :]).any(axis=2)] = -1
            both = np.hstack([links, more])
            first = np.argsort(both < 0, axis=1, kind="stable")[:, : links.shape[1]]
            all_links[at] = np.take_along_axis(both, first, axis=1)


def _links(hnsw: Any) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Faiss's own array of all links, and where in it those of the lowest level are: [vectors, slots], some at a time.

    An empty slot is -1, and none is before a full one.
    """
    import faiss

    links = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
    starts = faiss.vector_to_array(hnsw.offsets)[:-1].astype(np.int64)
    slots = np.arange(hnsw.nb_neighbors(0))
    for start in range(0, len(starts), ROWS_AT_ONCE):
        yield links, starts[start : start + ROWS_AT_ONCE, np.newaxis] + slots


def lists_of(index: Any) -> Any:
    """The part of an index that is inverted lists with a flat table of centroids, as this chapter can fill; or None."""
    import faiss

    inverted: Any = faiss.try_extract_index_ivf(index)
    if inverted is None or isinstance(inverted, faiss.IndexIVFFastScan):
        return None
    return inverted if isinstance(faiss.downcast_index(inverted.quantizer), faiss.IndexFlat) else None


def keep_no_residuals(inverted: Any) -> None:
    """Let codes be of the vectors, not of their differences from a centroid, which is far from a long vector."""
    import faiss

    if isinstance(faiss.downcast_index(inverted), faiss.IndexIVFPQ | faiss.IndexIVFScalarQuantizer):
        inverted.by_residual = False


class InListsByDirection:
    """Vectors added to inverted lists by direction, where a query looks first into lists that hold long vectors.

    Faiss's centroids have length 1, so the lists that a query looks into are those of its own direction. Here they have
    the length of the longest vector of their list: the best inner product that may be in there.

    Args:
        index: the whole index, trained.
        inverted: its part that is inverted lists.
        source: all vectors, read once beforehand.
    """

    def __init__(self, index: Any, inverted: Any, source: VectorSource) -> None:
        import faiss

        self._index = index
        longest = np.zeros(inverted.nlist, np.float32)
        lists = []
        for _, vectors in source.blocks():
            changed = _changed(index, np.ascontiguousarray(vectors, np.float32))
            lists.append(inverted.quantizer.assign(changed, 1)[:, 0])
            np.maximum.at(longest, lists[-1], np.linalg.norm(changed, axis=1))
        self._lists, self._added = np.concatenate(lists), 0
        centroids: Any = faiss.downcast_index(inverted.quantizer)
        scaled = centroids.reconstruct_n(0, inverted.nlist) * np.where(longest > 0, longest, 1)[:, np.newaxis]
        centroids.reset()
        centroids.add(scaled)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add a block, in the source's order."""
        _add(self._index, vectors, self._lists[self._added : self._added + len(vectors)])
        self._added += len(vectors)

    def finish(self) -> None:
        """Nothing is left to do."""


def _changed(index: Any, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors as the inverted lists get them, rotated say."""
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return _changed(index.base_index, vectors)
    if isinstance(index, faiss.IndexPreTransform):
        chain: Any = index.chain
        for at in range(chain.size()):
            vectors = chain.at(at).apply(vectors)
        return _changed(index.index, vectors)
    return vectors


def _add(index: Any, vectors: NDArray[np.float32], lists: NDArray[np.int64]) -> None:
    """`index.add(vectors)`, to lists that are known."""
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        _add(index.base_index, vectors, lists)
        faiss.downcast_index(index.refine_index).add(vectors)
    elif isinstance(index, faiss.IndexPreTransform):
        chain: Any = index.chain
        for at in range(chain.size()):
            vectors = chain.at(at).apply(vectors)
        _add(index.index, vectors, lists)
    else:
        inverted: Any = index
        inverted.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))
        return
    index.ntotal += len(vectors)
