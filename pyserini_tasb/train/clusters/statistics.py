"""What clusters are like: their sizes, and how close their queries are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sizes:
    """How many queries the clusters have; empty clusters count in `empty` only.

    Args:
        min: of the smallest cluster.
        median: as the word says.
        mean: as the word says.
        max: of the largest cluster.
        empty: clusters without queries.
        smaller_than_batch: clusters, not empty, with fewer queries than a batch takes.
    """

    min: int
    median: float
    mean: float
    max: int
    empty: int
    smaller_than_batch: int


def sizes(assignment: NDArray[np.int64], clusters: int, batch_size: int) -> Sizes:
    """The sizes of `clusters` clusters, given the cluster of each query [queries]."""
    counts = np.bincount(assignment, minlength=clusters)
    filled = counts[counts > 0]
    return Sizes(
        min=int(filled.min()),
        median=float(np.median(filled)),
        mean=float(filled.mean()),
        max=int(filled.max()),
        empty=clusters - len(filled),
        smaller_than_batch=int(np.count_nonzero(filled < batch_size)),
    )


def inertia(vectors: NDArray[np.float32], assignment: NDArray[np.int64]) -> float:
    """The sum over all queries of the squared distance to the mean of their cluster: what Eq. 10 minimises.

    Args:
        vectors: [queries, dimension]
        assignment: [queries] the cluster of each.

    Source: arXiv:2104.06967, Eq. 10.
    """
    total = 0.0
    for rows in members(assignment):
        cluster = vectors[rows].astype(np.float64)
        total += float(((cluster - cluster.mean(axis=0)) ** 2).sum())
    return total


def members(assignment: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """The queries of each cluster that is not empty, ascending, in the order of clusters."""
    order = np.argsort(assignment, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(assignment[order])) + 1)
