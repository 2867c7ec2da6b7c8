"""`tasb cluster`: the clusters of queries that batches are drawn from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.artifacts import installed_versions, locked_folder, whole_file
from pyserini_tasb.data.cluster_file import write_clusters
from pyserini_tasb.data.cluster_picture import draw_clusters
from pyserini_tasb.data.cluster_statistics import (
    Agreement,
    Sizes,
    agreement,
    inertia,
    members,
    read_labels,
    sample_clusters,
    sizes,
)
from pyserini_tasb.data.kmeans import KMeans, check_parameters, kmeans
from pyserini_tasb.data.query_vectors import TRAINING_QUERY_TOKENS, QueryVectors
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.topics import read_topics
from pyserini_tasb.recipes.lookup import encoder_card

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray


CLUSTERS, STATISTICS, PICTURE = "clusters.tsv", "statistics.json", "clusters.png"
MEANING = {
    "spherical": "mean inner product of a query and its unit centroid, as the released code; higher is closer",
    "euclidean": "mean squared distance of a query to its centroid, as Eq. 10; lower is closer",
}
UNNAMED = "unnamed"  # the card of a model that has none
PACKAGES = ("numpy", "torch", "transformers", "scikit-learn", "faiss-cpu", "faiss-gpu")


def run(arguments: argparse.Namespace) -> int:
    """Cluster `arguments.topics`; write the cluster file, statistics and, if asked for, a picture.

    Raises:
        TasbError: too few queries, a faulty file, no such encoder, vectors of something else, or nowhere to write.
    """
    output = Path(arguments.output)
    with locked_folder(output):
        return _cluster(arguments, output)


def _cluster(arguments: argparse.Namespace, output: Path) -> int:
    queries = usable_queries(Path(arguments.topics))
    labels = read_labels(Path(arguments.labels), queries.ids) if arguments.labels else None
    count = number_of_clusters(len(queries.ids), arguments.batch_size, arguments.clusters)
    check_parameters(len(queries.ids), count, arguments.iterations, arguments.points_per_centroid)
    warning = small_clusters_warning(len(queries.ids), count, arguments.batch_size)
    if warning:
        _note(warning)
    source = QueryVectors(queries.texts, arguments.encoder, arguments.device)
    start = time.monotonic()
    vectors = source.read_or_encode(Path(arguments.vectors), _note) if arguments.vectors else source.encode()
    encoded = time.monotonic()
    found = kmeans(
        vectors,
        count,
        metric=arguments.metric,
        iterations=arguments.iterations,
        seed=arguments.seed,
        points_per_centroid=arguments.points_per_centroid,
        progress=True,
    )
    print(f"vectors in {encoded - start:.1f} s, k-means in {time.monotonic() - encoded:.1f} s")
    of_sizes = sizes(found.assignment, count, arguments.batch_size)
    compared = agreement(queries.ids, found.assignment, labels, arguments.seed) if labels else None
    statistics = {
        **_described(arguments, queries, vectors, found),
        "inertia": inertia(vectors, found.assignment),
        "sizes": dataclasses.asdict(of_sizes),
        "labels": dataclasses.asdict(compared) if compared else None,
    }
    _write(output, queries, found, statistics)
    print(_summary(arguments, queries, found, of_sizes, compared))
    print(f"wrote {output / CLUSTERS} and {output / STATISTICS}")
    if arguments.picture:
        _draw(output / PICTURE, arguments, queries, found, vectors)
        print(f"wrote {output / PICTURE}")
    return 0


def _write(output: Path, queries: UsableQueries, found: KMeans, statistics: dict[str, Any]) -> None:
    # A picture that an earlier run left here shows other clusters.
    (output / PICTURE).unlink(missing_ok=True)
    write_clusters(output / CLUSTERS, [[queries.ids[row] for row in rows] for rows in members(found.assignment)])
    with (output / CLUSTERS).open("rb") as clusters:
        digest = hashlib.file_digest(clusters, "sha256").hexdigest()
    with whole_file(output / STATISTICS) as file:
        file.write((json.dumps({**statistics, "clusters_sha256": digest}, indent=1) + "\n").encode())


def _draw(
    path: Path, arguments: argparse.Namespace, queries: UsableQueries, found: KMeans, vectors: NDArray[np.float32]
) -> None:
    samples = sample_clusters(found, vectors, queries.texts, seed=arguments.seed)
    draw_clusters(
        path,
        samples,
        vectors,
        metric=found.metric,
        title=f"{len(samples)} of {len(found.centroids):,} clusters of {len(queries.ids):,} queries",
        subtitle=f"t-SNE of query vectors by {_model_name(arguments.encoder)}; {found.metric} k-means. "
        "Right: the queries nearest each centroid.",
        seed=arguments.seed,
    )


def _described(
    arguments: argparse.Namespace, queries: UsableQueries, vectors: NDArray[np.float32], found: KMeans
) -> dict[str, Any]:
    card = encoder_card(arguments.encoder)
    return {
        "queries": {
            "source": arguments.topics,
            "clustered": len(queries.ids),
            "without_pairs": queries.without_pairs,
        },
        "encoder": {
            "name": arguments.encoder,
            "model": card.model,
            "query_tokens": min(TRAINING_QUERY_TOKENS, card.query_max_length),
            "device": arguments.device,
            "vectors_sha256": hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest(),
        },
        "k_means": {
            "metric": found.metric,
            "clusters": len(found.centroids),
            "dimension": found.centroids.shape[1],
            "iterations": len(found.splits),
            "seed": arguments.seed,
            "points_per_centroid": arguments.points_per_centroid,
            "training_queries": found.training_queries,
            "splits": sum(found.splits),
            "objective": found.objective,
            "objective_is": MEANING[found.metric],
        },
        "batch_size": arguments.batch_size,
        "versions": installed_versions(PACKAGES),
    }


def _summary(
    arguments: argparse.Namespace, queries: UsableQueries, found: KMeans, of_sizes: Sizes, compared: Agreement | None
) -> str:
    without = f" ({queries.without_pairs:,} without pairs left out)" if queries.without_pairs else ""
    text = f"""\
{len(queries.ids):,} queries{without} in {len(found.centroids):,} clusters, by {arguments.encoder}
{found.metric} k-means, {len(found.splits)} iterations, seed {arguments.seed}: \
{found.objective[0]:.4f} -> {found.objective[-1]:.4f} ({MEANING[found.metric]})
queries in a cluster: min {of_sizes.min:,}, median {of_sizes.median:,g}, mean {of_sizes.mean:,.1f}, \
max {of_sizes.max:,}; {of_sizes.empty:,} empty, {of_sizes.smaller_than_batch:,} smaller than a batch of \
{arguments.batch_size}"""
    if compared:
        text += f"""
{compared.labels:,} labels of {compared.queries:,} queries: \
purity {compared.purity:.3f} (random {compared.random_purity:.3f}), NMI {compared.nmi:.3f} \
(random {compared.random_nmi:.3f})"""
    return text


def _model_name(encoder: str) -> str:
    """A name for people: the card's and the hub's (`minilm (all-MiniLM-L6-v2)`), or the folder's."""
    card = encoder_card(encoder)
    hub = next((alias.rpartition("/")[2] for alias in card.aliases if "/" in alias), None)
    if card.name == UNNAMED:
        return Path(card.model).name
    return f"{card.name} ({hub})" if hub else card.name


def _note(text: str) -> None:
    print(f"tasb cluster: note: {text}", file=sys.stderr)


# --------
# How many clusters.

PAPER_CLUSTERS = 2000  # for its 400K queries (Section 4.2)
BATCHES_PER_CLUSTER = 3


def number_of_clusters(queries: int, batch_size: int, wanted: int | None = None) -> int:
    """How many to make: those wanted, or so many that one holds 3 batches of queries, at most the paper's 2,000.

    Args:
        queries: usable ones.
        batch_size: queries in a batch.
        wanted: what the user asked for.

    Raises:
        TasbError: fewer queries than a batch takes.
    """
    if batch_size < 1 or queries < batch_size:
        raise TasbError(
            expected=f"at least as many usable queries as a batch takes ({batch_size}, and that at least 1)",
            found=f"{queries}",
            do="add queries, or choose a smaller --batch-size (and train with it)",
        )
    return wanted if wanted is not None else max(1, min(PAPER_CLUSTERS, queries // (BATCHES_PER_CLUSTER * batch_size)))


def small_clusters_warning(queries: int, clusters: int, batch_size: int) -> str | None:
    """What to tell the user when a cluster has, on average, fewer queries than a batch takes."""
    if queries >= clusters * batch_size:
        return None
    return (
        f"{clusters} clusters have {queries / clusters:.1f} queries on average, fewer than a batch of {batch_size}: "
        f"batches will mix topics; {number_of_clusters(queries, batch_size)} clusters (the default) would not"
    )


# --------
# The queries to cluster: of a topics file, or those of a pair store that have pairs.


@dataclass(frozen=True)
class UsableQueries:
    """Queries that can be drawn for training.

    Args:
        ids: the qids.
        texts: one for each.
        without_pairs: how many others there are that have no pairs.
    """

    ids: list[str]
    texts: list[str]
    without_pairs: int = 0


def usable_queries(path: Path) -> UsableQueries:
    """All queries of a topics file (TSV or JSONL), or those with pairs of a pair store (a folder).

    Raises:
        TasbError: neither of them, or a damaged one.
    """
    if not path.is_dir():
        topics = read_topics(path)
        return UsableQueries(list(topics), list(topics.values()))
    from pyserini_tasb.data.pair_store import open_pair_store

    store = open_pair_store(path)
    usable = np.flatnonzero(np.diff(store.offsets))
    return UsableQueries(store.queries.ids(usable), store.queries.texts(usable), len(store.queries) - len(usable))
