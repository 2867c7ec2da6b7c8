"""K-means over query vectors: Euclidean as the paper's Eq. 10, or spherical as its released code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from pyserini_tasb.bars import hidden
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.topics import read_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


Metric: TypeAlias = Literal["spherical", "euclidean"]
METRICS: tuple[Metric, ...] = get_args(Metric)

ROWS_AT_ONCE = 65_536
SHUFFLES = 10


@dataclass(frozen=True)
class KMeans:
    """Queries in clusters.

    Args:
        metric: `spherical`: a query belongs to the centroid of unit length with the largest inner product;
            `euclidean`: to the nearest one.
        centroids: [clusters, dimension].
        assignment: [queries] the cluster of each query; a cluster may have none.
        objective: the objective before each iteration's update, and at the end: the mean inner product of a query and
            its centroid (spherical; rises), or the mean squared distance (euclidean; falls).
        splits: the number of clusters, in each iteration, that lost all queries and got half of another's.
        training_queries: how many queries the centroids were computed from.
    """

    metric: Metric
    centroids: NDArray[np.float32]
    assignment: NDArray[np.int64]
    objective: tuple[float, ...]
    splits: tuple[int, ...]
    training_queries: int


def kmeans(
    vectors: NDArray[np.float32],
    clusters: int,
    *,
    metric: Metric = "spherical",
    iterations: int = 10,
    seed: int = 1234,
    points_per_centroid: int = 256,
    progress: bool = False,
    device: str | None = None,
) -> KMeans:
    """Cluster vectors; the defaults are those of the released code. Same vectors and seed, same clusters.

    Args:
        vectors: [queries, dimension]; may be memory-mapped. Not normalised for `spherical`, as in the released code:
            longer vectors weigh more in a centroid.
        clusters: fewer than the queries.
        metric: see `KMeans`.
        iterations: the most iterations; it stops when no centroid moves.
        seed: the seed of the first centroids, and of the sample if there is one.
        points_per_centroid: the most queries per cluster from which centroids are computed. With more queries, they
            come from a sample of that size; all queries are assigned to clusters.
        progress: show it on stderr.
        device: torch's name of the device to compute on; by default Faiss computes, on the CPU.

    Raises:
        TasbError: too few vectors for so many clusters, or vectors that are not finite.

    Source: arXiv:2104.06967, Eq. 10.
    """
    from tqdm.auto import tqdm

    check_parameters(len(vectors), clusters, iterations, points_per_centroid)
    _require_finite(vectors)
    sample = _sample(vectors, clusters * points_per_centroid, seed)
    if device is None:
        lloyd: Lloyd = FaissLloyd(sample, clusters, metric, seed)
    else:
        from pyserini_tasb.data.torch_kmeans import TorchLloyd

        lloyd = TorchLloyd(sample, clusters, metric, seed, device)
    centroids: NDArray[np.float32] | None = None
    objective: list[float] = []
    splits: list[int] = []
    with tqdm(total=iterations + 1, desc="k-means", unit=" iterations", disable=hidden(not progress)) as bar:
        for _ in range(iterations):
            before = centroids
            centroids, closeness, split = lloyd.step(before)
            objective.append(closeness / len(sample))
            splits.append(split)
            bar.update(1)
            if before is not None and np.array_equal(before, centroids):
                break
        assert centroids is not None  # noqa: S101 - there is at least one iteration
        assignment, closeness = _assign(vectors, lloyd.nearest_to(centroids))
        bar.update(iterations + 1 - bar.n)
    objective.append(closeness / len(vectors))
    return KMeans(metric, centroids, assignment, tuple(objective), tuple(splits), len(sample))


Nearest: TypeAlias = "Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.int64]]]"
"""A function of vectors: what the metric measures, and the nearest centroid of each."""


class Lloyd(Protocol):
    """Lloyd's iterations over vectors; see `TorchLloyd`."""

    def step(self, centroids: NDArray[np.float32] | None) -> tuple[NDArray[np.float32], float, int]:
        """One iteration: new centroids, the sum of what the metric measures before the update, and split clusters."""

    def nearest_to(self, centroids: NDArray[np.float32]) -> Nearest:
        """A function that finds the nearest of these centroids."""


class FaissLloyd:
    """Iterations by Faiss, on the CPU.

    Faiss can run them all in one call, but then it shows nothing. Called once for each, it does the same.

    Args:
        vectors: [n, dimension].
        clusters: the number of centroids.
        metric: `spherical` or `euclidean`.
        seed: the seed of the first centroids.
    """

    def __init__(self, vectors: NDArray[np.float32], clusters: int, metric: Metric, seed: int) -> None:
        self._vectors, self._clusters, self._metric, self._seed = vectors, clusters, metric, seed

    def step(self, centroids: NDArray[np.float32] | None) -> tuple[NDArray[np.float32], float, int]:
        """One iteration, as `TorchLloyd.step`."""
        import faiss

        step: Any = faiss.Kmeans(
            self._vectors.shape[1],
            self._clusters,
            niter=1,
            seed=self._seed,
            spherical=self._metric == "spherical",
            min_points_per_centroid=1,
            max_points_per_centroid=len(self._vectors),
        )
        step.train(self._vectors, init_centroids=centroids)
        return step.centroids, float(step.obj[0]), int(step.iteration_stats[0]["nsplit"])

    def nearest_to(self, centroids: NDArray[np.float32]) -> Nearest:
        """A function of vectors, as `TorchLloyd.nearest_to`."""
        import faiss

        index = {"spherical": faiss.IndexFlatIP, "euclidean": faiss.IndexFlatL2}[self._metric](centroids.shape[1])
        index.add(centroids)

        def nearest(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            values, clusters = index.search(np.ascontiguousarray(vectors), 1)
            return values[:, 0], clusters[:, 0]

        return nearest


def _assign(vectors: NDArray[np.float32], nearest: Nearest) -> tuple[NDArray[np.int64], float]:
    """The cluster of every vector, and the sum of what the metric measures."""
    assignment = np.empty(len(vectors), dtype=np.int64)
    total = 0.0
    for rows in _blocks(len(vectors)):
        values, assignment[rows] = nearest(vectors[rows])
        total += float(values.sum(dtype=np.float64))
    return assignment, total


def _sample(vectors: NDArray[np.float32], size: int, seed: int) -> NDArray[np.float32]:
    if len(vectors) <= size:
        return vectors
    rows = np.random.default_rng(seed).choice(len(vectors), size, replace=False)
    return vectors[np.sort(rows)]


def check_parameters(queries: int, clusters: int, iterations: int, points_per_centroid: int) -> None:
    """Refuse what `kmeans` refuses, before there are vectors.

    Raises:
        TasbError: saying which number is impossible.
    """
    if not 1 <= clusters < queries:
        raise TasbError(
            expected=f"at least 1 cluster, and fewer than the {queries} queries",
            found=f"{clusters}",
            do="choose another number, or leave it out: the default fits the queries",
        )
    if iterations < 1 or points_per_centroid < 2:
        raise TasbError(
            expected="at least 1 iteration and 2 points per centroid",
            found=f"{iterations} and {points_per_centroid}",
            do="leave them out: the defaults, 10 and 256, are those of the released code",
        )


def _require_finite(vectors: NDArray[np.float32]) -> None:
    for rows in _blocks(len(vectors)):
        finite = np.isfinite(vectors[rows]).all(axis=1)
        if not finite.all():
            raise TasbError(
                expected="vectors of finite numbers",
                found=f"infinity or not-a-number in the vector of query {rows.start + int(finite.argmin()) + 1}",
                do="check the model's weights, and encode in fp32",
            )


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, ROWS_AT_ONCE):
        yield slice(start, min(start + ROWS_AT_ONCE, rows))


@dataclass(frozen=True)
class Sizes:
    """How many queries the clusters have; empty clusters count in `empty` only.

    Args:
        min: queries in the smallest cluster.
        median: queries in a cluster, half of them below.
        mean: queries in a cluster on average.
        max: queries in the largest cluster.
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


@dataclass(frozen=True)
class LabelAgreement:
    """Clusters against topic labels, over the queries that have a label, and next to chance.

    Args:
        queries: the number of queries with a label.
        labels: the number of different ones.
        purity: the share of queries whose label is the most frequent one of their cluster.
        nmi: normalised mutual information (arithmetic mean).
        random_purity: the purity with the labels shuffled; the mean of 10 shuffles.
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


def agreement(
    ids: Sequence[str], assignment: NDArray[np.int64], labels: Mapping[str, str], seed: int
) -> LabelAgreement:
    """Compare clusters with labels.

    Args:
        ids: the qids.
        assignment: [queries] the cluster of each.
        labels: qid → label, of one query at least; queries without one do not count.
        seed: decides the shuffles.
    """
    labelled = np.fromiter((qid in labels for qid in ids), dtype=np.bool_, count=len(ids))
    names, codes = np.unique([labels[qid] for qid in ids if qid in labels], return_inverse=True)
    _, clusters = np.unique(assignment[labelled], return_inverse=True)
    generator = np.random.default_rng(seed)
    chance = np.array([_measures(clusters, generator.permutation(codes)) for _ in range(SHUFFLES)]).mean(axis=0)
    purity, nmi = _measures(clusters, codes)
    return LabelAgreement(len(codes), len(names), purity, nmi, float(chance[0]), float(chance[1]))


def _measures(clusters: NDArray[np.intp], codes: NDArray[np.intp]) -> tuple[float, float]:
    from sklearn.metrics import normalized_mutual_info_score

    shape = (int(clusters.max()) + 1, int(codes.max()) + 1)
    counts = np.bincount(np.ravel_multi_index((clusters, codes), shape), minlength=shape[0] * shape[1]).reshape(shape)
    purity = counts.max(axis=1).sum() / len(codes)
    return float(purity), float(normalized_mutual_info_score(codes, clusters))
