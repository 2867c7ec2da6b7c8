"""Sample clusters for the picture, each with the queries that stand for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.train.clusters.statistics import members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.train.clusters.kmeans import KMeans

CLUSTERS = 8  # as in Figure 1
POINTS = 250
EXAMPLES = 3


@dataclass(frozen=True)
class SampleCluster:
    """One cluster of the picture.

    Args:
        line: of the cluster file, from 1.
        size: its queries.
        rows: those drawn, ascending: all, or a sample.
        examples: texts of the queries nearest its centroid, nearest first; no two alike.
    """

    line: int
    size: int
    rows: NDArray[np.intp]
    examples: tuple[str, ...]


def sample_clusters(
    found: KMeans, vectors: NDArray[np.float32], texts: Sequence[str], *, seed: int
) -> list[SampleCluster]:
    """8 clusters drawn uniformly among those of at least 3 queries (all of them where there are fewer).

    Args:
        found: the clusters.
        vectors: [queries, dimension]
        texts: one for each query.
        seed: of the draw, and of the sample of a cluster of more than 250 queries.
    """
    generator = np.random.default_rng(seed)
    large = [(line, rows) for line, rows in enumerate(members(found.assignment), 1) if len(rows) >= EXAMPLES]
    chosen = np.sort(generator.choice(len(large), min(CLUSTERS, len(large)), replace=False))
    samples = []
    for line, rows in (large[number] for number in chosen):
        centroid = found.centroids[found.assignment[rows[0]]]
        nearest = rows[np.argsort(_distances(vectors[rows], centroid, found.metric), kind="stable")]
        drawn = generator.choice(rows, min(POINTS, len(rows)), replace=False)
        samples.append(SampleCluster(line, len(rows), np.sort(drawn), _different(texts, nearest)))
    return samples


def _distances(vectors: NDArray[np.float32], centroid: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Of each vector to the centroid: squared, or of cosine."""
    if metric == "euclidean":
        squared: NDArray[np.float32] = ((vectors - centroid) ** 2).sum(axis=1)
        return squared
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float32).tiny)
    cosine: NDArray[np.float32] = (vectors @ centroid) / lengths
    return -cosine


def _different(texts: Sequence[str], rows: NDArray[np.intp]) -> tuple[str, ...]:
    """The first few texts, without those that differ in case and punctuation only."""
    examples: dict[str, str] = {}
    for row in rows:
        words = "".join(character if character.isalnum() else " " for character in texts[row].casefold())
        examples.setdefault(" ".join(words.split()) or texts[row], texts[row])
        if len(examples) == EXAMPLES:
            break
    return tuple(examples.values())
