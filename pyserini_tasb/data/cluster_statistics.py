"""What clusters are like: sizes, closeness, agreement with topic labels, and samples for the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.topics import read_topics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.data.kmeans import KMeans


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


# --------
# How well clusters agree with topic labels, next to chance.

SHUFFLES = 10


@dataclass(frozen=True)
class Agreement:
    """Clusters against labels, over the queries that have a label.

    Args:
        queries: with a label.
        labels: different ones.
        purity: the share of queries whose label is the most frequent one of their cluster.
        nmi: normalised mutual information (arithmetic mean).
        random_purity: of the same cluster sizes with the labels shuffled; the mean of 10 shuffles.
        random_nmi: likewise. Both rise with the number of clusters.
    """

    queries: int
    labels: int
    purity: float
    nmi: float
    random_purity: float
    random_nmi: float


def read_labels(path: Path, ids: Sequence[str]) -> dict[str, str]:
    """The labels of queries: qid → label, for those of `ids` that have one. A file of lines `qid TAB label`.

    Raises:
        TasbError: a faulty file, or none of `ids` has a label.
    """
    labels = read_topics(path)
    found = {qid: labels[qid] for qid in ids if qid in labels}
    if not found:
        raise TasbError(
            where=str(path),
            expected="labels of the clustered queries: qid TAB label",
            found=f"{len(labels)} labels, none of them of these {len(ids)} queries",
            do="check that the labels go with the queries",
        )
    return found


def agreement(ids: Sequence[str], assignment: NDArray[np.int64], labels: Mapping[str, str], seed: int) -> Agreement:
    """Compare.

    Args:
        ids: the qids.
        assignment: [queries] the cluster of each.
        labels: qid → label, of one query at least; queries without one do not count.
        seed: of the shuffles.
    """
    labelled = np.fromiter((qid in labels for qid in ids), dtype=np.bool_, count=len(ids))
    names, codes = np.unique([labels[qid] for qid in ids if qid in labels], return_inverse=True)
    _, clusters = np.unique(assignment[labelled], return_inverse=True)
    generator = np.random.default_rng(seed)
    chance = np.array([_measures(clusters, generator.permutation(codes)) for _ in range(SHUFFLES)]).mean(axis=0)
    purity, nmi = _measures(clusters, codes)
    return Agreement(len(codes), len(names), purity, nmi, float(chance[0]), float(chance[1]))


def _measures(clusters: NDArray[np.intp], codes: NDArray[np.intp]) -> tuple[float, float]:
    from sklearn.metrics import normalized_mutual_info_score

    shape = (int(clusters.max()) + 1, int(codes.max()) + 1)
    counts = np.bincount(np.ravel_multi_index((clusters, codes), shape), minlength=shape[0] * shape[1]).reshape(shape)
    purity = counts.max(axis=1).sum() / len(codes)
    return float(purity), float(normalized_mutual_info_score(codes, clusters))


# --------
# Sample clusters for the picture, each with the queries that stand for it.

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
