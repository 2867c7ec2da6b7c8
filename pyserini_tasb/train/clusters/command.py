"""`tasb cluster`: the clusters that batches are drawn from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.folder_lock import locked_folder
from pyserini_tasb.recipes import encoder_card
from pyserini_tasb.train.clusters.agreement import Agreement, agreement, read_labels
from pyserini_tasb.train.clusters.cluster_count import number_of_clusters, small_clusters_warning
from pyserini_tasb.train.clusters.cluster_file import write_clusters
from pyserini_tasb.train.clusters.kmeans import KMeans, check_parameters, kmeans
from pyserini_tasb.train.clusters.picture import draw_clusters
from pyserini_tasb.train.clusters.queries import UsableQueries, usable_queries
from pyserini_tasb.train.clusters.sample import sample_clusters
from pyserini_tasb.train.clusters.statistics import Sizes, inertia, members, sizes
from pyserini_tasb.train.clusters.vectors import TRAINING_QUERY_TOKENS, QueryVectors
from pyserini_tasb.versions import installed_versions
from pyserini_tasb.whole_file import whole_file

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
    """Cluster `arguments.queries`; write the cluster file, statistics and, if asked for, a picture.

    Raises:
        TasbError: too few queries, a faulty file, no such encoder, vectors of something else, or nowhere to write.
    """
    output = Path(arguments.output)
    with locked_folder(output):
        return _cluster(arguments, output)


def _cluster(arguments: argparse.Namespace, output: Path) -> int:
    queries = usable_queries(Path(arguments.queries))
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
            "source": arguments.queries,
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
