"""K-means over query vectors (faiss): Euclidean as the paper's Eq. 10, or spherical as the authors' released code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from tqdm import tqdm

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


Metric: TypeAlias = Literal["spherical", "euclidean"]
METRICS: tuple[Metric, ...] = get_args(Metric)

ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class KMeans:
    """Queries in clusters.

    Args:
        metric: `spherical`: a query belongs to the centroid of unit length with the largest inner product;
            `euclidean`: to the nearest one.
        centroids: [clusters, dimension].
        assignment: [queries] the cluster of each query; a cluster may have none.
        objective: before the update of each iteration, and at the end: the mean inner product of a query and its
            centroid (spherical; rises), or the mean squared distance (euclidean; falls).
        splits: in each iteration, how many clusters had lost all queries and got half of another's.
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
) -> KMeans:
    """Cluster vectors; the defaults are those of the released code. Same vectors and seed, same clusters.

    Args:
        vectors: [queries, dimension]; may be memory-mapped. Not normalised for `spherical`, as in the released code:
            longer vectors weigh more in a centroid.
        clusters: fewer than the queries.
        metric: see `KMeans`.
        iterations: at most; it stops when no centroid moves.
        seed: of the first centroids, and of the sample if there is one.
        points_per_centroid: with more queries than this times the clusters, the centroids are computed from a sample
            of that size; all queries are assigned.
        progress: show it on stderr.

    Raises:
        TasbError: too few vectors for so many clusters, or vectors that are not finite.

    Source: arXiv:2104.06967, Eq. 10.
    """
    import faiss

    check_parameters(len(vectors), clusters, iterations, points_per_centroid)
    _require_finite(vectors)
    sample = _sample(vectors, clusters * points_per_centroid, seed)
    dimension = vectors.shape[1]
    centroids: NDArray[np.float32] | None = None
    objective: list[float] = []
    splits: list[int] = []
    with tqdm(total=iterations + 1, desc="k-means", unit="iteration", disable=not progress) as bar:
        # faiss runs them all in one call, but then it shows nothing. Called once for each, it does the same.
        for _ in range(iterations):
            step: Any = faiss.Kmeans(
                dimension,
                clusters,
                niter=1,
                seed=seed,
                spherical=metric == "spherical",
                min_points_per_centroid=1,
                max_points_per_centroid=points_per_centroid,
            )
            step.train(sample, init_centroids=centroids)
            objective.append(float(step.obj[0]) / len(sample))
            splits.append(int(step.iteration_stats[0]["nsplit"]))
            stands = centroids is not None and np.array_equal(centroids, step.centroids)
            centroids = step.centroids
            bar.update(1)
            if stands:
                break
        assert centroids is not None  # noqa: S101 - there is at least one iteration
        assignment, closeness = _assign(vectors, centroids, metric)
        bar.update(iterations + 1 - bar.n)
    objective.append(closeness)
    return KMeans(metric, centroids, assignment, tuple(objective), tuple(splits), len(sample))


def _assign(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32], metric: Metric
) -> tuple[NDArray[np.int64], float]:
    """The cluster of every vector, and the mean of what the metric measures."""
    import faiss

    index = {"spherical": faiss.IndexFlatIP, "euclidean": faiss.IndexFlatL2}[metric](centroids.shape[1])
    index.add(centroids)
    assignment = np.empty(len(vectors), dtype=np.int64)
    total = 0.0
    for rows in _blocks(len(vectors)):
        values, nearest = index.search(np.ascontiguousarray(vectors[rows]), 1)
        assignment[rows] = nearest[:, 0]
        total += float(values.sum(dtype=np.float64))
    return assignment, total / len(vectors)


def _sample(vectors: NDArray[np.float32], size: int, seed: int) -> NDArray[np.float32]:
    if len(vectors) <= size:
        return vectors
    rows = np.random.default_rng(seed).choice(len(vectors), size, replace=False)
    return vectors[np.sort(rows)]


def check_parameters(queries: int, clusters: int, iterations: int, points_per_centroid: int) -> None:
    """What `kmeans` refuses, before there are vectors.

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
