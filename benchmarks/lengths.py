"""Graphs, inverted lists and quantisers over vectors whose lengths differ: recall as Faiss builds them, and as we do.

    python benchmarks/lengths.py --vectors DIR --topics TOPICS --encoder tasb:minilm
    python benchmarks/lengths.py --quick              # random vectors: recall of real ones is another

Lengths are those of the vectors, or drawn: log-normal with a standard deviation of the logarithm; or 20 vectors are 10
times as long as all others, or 5 are 200 times as long. Reachable are the vectors to which a graph's links lead from
its entry. `augmented` is a graph by L2 distances after one more dimension, sqrt(M² - |x|²), by which the nearest vector
is that of the greatest inner product (Bachrach et al., RecSys 2014). It is searched by inner products.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from measuring import Options, Results

from pyserini_tasb.environment.processor import threads
from pyserini_tasb.indexes import lengths
from pyserini_tasb.indexes.build import index_recipe
from pyserini_tasb.indexes.faiss_build import make_index, set_parameters
from pyserini_tasb.indexes.lengths import InListsByDirection, WithLinksByDirection, graph_of, keep_no_residuals
from pyserini_tasb.indexes.vector_source import open_vectors, sampled_rows

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

DEPTHS = (10, 100, 1_000)
# Of 8,326 vectors, a report says, 611 were reachable.
VECTORS, QUERIES = 8_326, 200
LENGTHS = ("own", "1", "20x10", "5x200")
GRAPHS = ("hnsw", "hnsw, ours", "hnsw, augmented")
LISTS = ("ivf", "ivf, ours", "ivfrabitq", "ivfrabitq, ours")
COLUMNS = {
    "spread": ".2f",
    "reachable": ",d",
    **{f"@{depth}": ".4f" for depth in DEPTHS},
    "ms": ".2f",
    "build s": ".1f",
}
# Seconds on the machine of `measuring.PROBES`: of a number in a vector, and of a query.
NUMBER, QUERY = 2e-7, 1e-3
QUANTISERS = ("int8", "EDEN8", "RR,RaBitQ8", "rabitq")


def main() -> int:
    """Build each index over each choice of lengths; print a table, write JSON."""
    parser = Options(__file__, __doc__, quick={"rows": VECTORS // 4, "lengths": ["own", "1"]})
    parser.add_argument("--vectors", type=Path, metavar="DIR", help="default: random ones")
    parser.add_argument("--rows", type=int, default=VECTORS, help="vectors (default: %(default)s)")
    parser.add_argument("--topics", metavar="NAME|PATH", help="default: vectors are the queries")
    parser.add_argument("--encoder", metavar="NAME|PATH", help="the encoder of --topics")
    parser.add_argument("--lengths", nargs="+", default=list(LENGTHS), help="default: own 1 20x10 5x200")
    parser.add_argument("--kinds", nargs="+", default=[*GRAPHS, *LISTS, *QUANTISERS], help="default: all")
    options = parser.parse_args()
    results = Results(options, COLUMNS)
    faiss.omp_set_num_threads(threads())
    vectors, queries = real(options, options.rows) if options.vectors else random(options.rows)
    indexes = len(options.lengths) * len(options.kinds)
    work = indexes * (len(vectors) * vectors.shape[1] * NUMBER + len(queries) * QUERY)
    results.expect(f"{indexes} indexes of {len(vectors):,} vectors, {len(queries)} queries", python=work)
    for name in options.lengths:
        scaled = with_lengths(vectors, name)
        exact = {depth: faiss.knn(queries, scaled, depth, metric=faiss.METRIC_INNER_PRODUCT)[1] for depth in DEPTHS}
        for kind in options.kinds:
            row = measured(kind, scaled, queries, exact)
            results.rows[f"{name}: {kind}"] = {"spread": lengths.spread_of_lengths(scaled), **row}
    results.note(f"{len(vectors):,} vectors of {vectors.shape[1]} dimensions, {len(queries)} queries")
    return results.finish()


def real(options: argparse.Namespace, count: int) -> tuple[Array, Array]:
    """Vectors drawn from a folder, and the queries' vectors."""
    source = open_vectors(options.vectors)
    vectors = sampled_rows(source, count, seed=0)
    if not options.topics:
        return vectors, sampled_rows(source, QUERIES, seed=1)
    from pyserini_tasb.encoding.encoders import TasbQueryEncoder
    from pyserini_tasb.formats.named import as_topics

    texts = list(as_topics(options.topics).values())[:QUERIES]
    return vectors, TasbQueryEncoder(options.encoder).encode_batch(texts)


def random(count: int) -> tuple[Array, Array]:
    """Vectors around centres, and queries."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((50, 64), dtype=np.float32)
    everything = centres[generator.integers(50, size=count + QUERIES)]
    everything = everything + generator.standard_normal(everything.shape, dtype=np.float32)
    return everything[QUERIES:], everything[:QUERIES]


def with_lengths(vectors: Array, name: str) -> Array:
    """The vectors' directions with other lengths."""
    if name == "own":
        return vectors
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    if "x" in name:
        long, times = map(int, name.split("x"))
        directions[:long] *= times
        return directions
    drawn = np.random.default_rng(0).lognormal(0, float(name), (len(vectors), 1))
    return np.ascontiguousarray(directions * drawn, np.float32)


class InMemory:
    """A source of vectors that are there."""

    encoders = ()

    def __init__(self, vectors: Array) -> None:
        self.vectors, self.count, self.dimension = vectors, len(vectors), vectors.shape[1]

    def blocks(self, rows: int = 65_536) -> Iterator[tuple[list[str], Array]]:
        """All in one."""
        yield [], self.vectors


def built(kind: str, vectors: Array) -> Any:
    """An index of a kind, as Faiss makes it or as we do."""
    name, _, way = kind.partition(", ")
    if way == "augmented":
        return augmented(vectors)
    recipe = index_recipe(name, *vectors.shape)
    if recipe is None:
        raise SystemExit(f"{name} is no kind of Faiss index")
    index = make_index(recipe, vectors.shape[1])
    set_parameters(index, recipe.parameters)
    inverted: Any = faiss.try_extract_index_ivf(index)
    if inverted is not None:
        inverted.cp.min_points_per_centroid = 1
    ours = bool(way) and lengths.spread_of_lengths(vectors) >= lengths.LEAST_SPREAD
    if ours and inverted is not None:
        keep_no_residuals(inverted)
    index.train(vectors)
    if ours:
        graph = graph_of(index)
        adding: Any = (
            WithLinksByDirection(index, graph) if graph else InListsByDirection(index, inverted, InMemory(vectors))
        )
        adding.add(vectors)
        adding.finish()
    else:
        index.add(vectors)
    return index


def augmented(vectors: Array) -> Any:
    """A graph by L2 distances in one more dimension, over the vectors themselves."""
    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    more = np.sqrt(squares.max() - squares)[:, np.newaxis]
    by_distance = faiss.IndexHNSWFlat(vectors.shape[1] + 1, 32, faiss.METRIC_L2)
    by_distance.add(np.hstack([vectors, more]).astype(np.float32))
    index: Any = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    faiss.downcast_index(index.storage).add(vectors)
    index.ntotal = len(vectors)
    index.hnsw = by_distance.hnsw
    set_parameters(index, "efSearch=256")
    return faiss.deserialize_index(faiss.serialize_index(index))  # type: ignore[no-untyped-call]


def measured(kind: str, vectors: Array, queries: Array, exact: dict[int, Any]) -> dict[str, float]:
    """Recall at each depth; milliseconds of a query for the most hits."""
    start = time.perf_counter()
    index = built(kind, vectors)
    seconds = time.perf_counter() - start
    recall = {}
    for depth in DEPTHS:
        start = time.perf_counter()
        found = [index.search(query[np.newaxis], depth)[1][0] for query in queries]
        milliseconds = 1000 * (time.perf_counter() - start) / len(queries)
        shares = [len(np.intersect1d(hits, best)) / depth for hits, best in zip(found, exact[depth], strict=True)]
        recall[f"@{depth}"] = float(np.mean(shares))
    graph = graph_of(index)
    reached = {"reachable": reachable(graph.hnsw, len(vectors))} if graph else {}
    return {**recall, "ms": milliseconds, "build s": seconds, **reached}


def reachable(hnsw: Any, count: int) -> int:
    """How many vectors the lowest level's links lead to, from the entry point on."""
    links, starts = faiss.vector_to_array(hnsw.neighbors), faiss.vector_to_array(hnsw.offsets).astype(np.int64)
    seen = np.zeros(count, bool)
    front = np.array([hnsw.entry_point])
    while len(front):
        seen[front] = True
        next_ones = np.unique(links[starts[front, np.newaxis] + np.arange(hnsw.nb_neighbors(0))])
        front = next_ones[(next_ones >= 0) & ~seen[next_ones]]
    return int(seen.sum())


if __name__ == "__main__":
    sys.exit(main())
