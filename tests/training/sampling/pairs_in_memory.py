"""Pairs without texts: just what a sampler reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PairsInMemory:
    offsets: np.ndarray
    all_margins: np.ndarray
    supervision: str = "margins"

    def margins(self, rows):
        return self.all_margins[rows]


def pairs_of(margins, supervision: str = "margins") -> PairsInMemory:
    """Pairs with these margins, a list for each query."""
    counts = [len(of_query) for of_query in margins]
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    flat = np.array([margin for of_query in margins for margin in of_query], np.float32)
    return PairsInMemory(offsets, flat, supervision)


def clusters_of(sizes) -> list[np.ndarray]:
    """Clusters of these sizes; queries are numbered through."""
    ends = np.cumsum(sizes)
    return [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]
