"""Vectors of queries that were asked lately."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

Query: TypeAlias = tuple[str, int]
"""A text, and how many tokens of it are kept."""


class QueryCache:
    """The most recently used vectors, for any number of threads.

    Args:
        size: how many; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._vectors: OrderedDict[Query, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def known(self, queries: Iterable[Query]) -> dict[Query, NDArray[np.float32]]:
        """The vectors [dimension] of those queries that are here."""
        found = {}
        with self._lock:
            for query in queries:
                if query in self._vectors:
                    self._vectors.move_to_end(query)
                    found[query] = self._vectors[query]
        return found

    def add(self, queries: Iterable[Query], vectors: NDArray[np.float32]) -> None:
        """Keep vectors [queries, dimension]; those used longest ago make room."""
        with self._lock:
            for query, vector in zip(queries, vectors, strict=True):
                self._vectors[query] = vector.copy()  # or the whole batch would stay in memory
                self._vectors.move_to_end(query)
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
