"""The clusters of queries that batches are drawn from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.artifacts import installed_versions, sha256
from pyserini_tasb.data.cluster_file import write_clusters
from pyserini_tasb.data.cluster_picture import draw_clusters, sample_clusters
from pyserini_tasb.data.kmeans import (
    KMeans,
    LabelAgreement,
    Sizes,
    agreement,
    check_parameters,
    inertia,
    kmeans,
    members,
    read_labels,
    sizes,
)
from pyserini_tasb.data.pair_sources import source_name
from pyserini_tasb.data.query_vectors import TRAINING_QUERY_TOKENS, QueryVectors
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.named import as_topics
from pyserini_tasb.outputs import new_files, require_folder
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.data.kmeans import Metric
    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.outputs import NewFile
    from pyserini_tasb.recipes.types import Backend
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)

CLUSTERS, STATISTICS, PICTURE = "clusters.tsv", "statistics.json", "clusters.png"
MEANING = {
    "spherical": "mean inner product of a query and its unit centroid, as in the released code; higher is closer",
    "euclidean": "mean squared distance of a query to its centroid, as in Eq. 10; lower is closer",
}
UNNAMED = "unnamed"  # the card of a model that has none
PACKAGES = ("numpy", "torch", "transformers", "scikit-learn", "faiss-cpu", "faiss-gpu")
PAPER_CLUSTERS = 2000  # for its 400K queries (Section 4.2)
BATCHES_PER_CLUSTER = 3


@dataclass(frozen=True)
class Clusters(FileResult):
    """Clusters of queries. Wherever a path is taken, they stand for their file.

    Attributes:
        path: the cluster file: one cluster a line, its qids separated by tabs.
        statistics: the JSON file that says how the clusters were made, with their measures.
        picture: the picture, if it was asked for.
        queries: the number of clustered queries.
        clusters: the number of clusters.
        sizes: statistics of the numbers of queries in a cluster.
        labels: the agreement of the clusters with labels; None without labels.
        summary: all of this as text.
    """

    statistics: Path
    picture: Path | None
    queries: int
    clusters: int
    sizes: Sizes = field(repr=False)
    labels: LabelAgreement | None = field(repr=False)
    summary: str = field(repr=False)


def cluster(
    topics: AnyTopics,
    *,
    encoder: str,
    output: StrPath,
    clusters: int | None = None,
    batch_size: int = 32,
    metric: Metric = "spherical",
    iterations: int = 10,
    seed: int = 1234,
    points_per_centroid: int = 256,
    device: str = "cpu",
    backend: Backend | None = None,
    vectors: StrPath | None = None,
    labels: StrPath | None = None,
    picture: bool = False,
    overwrite: bool = False,
) -> Clusters:
    """Cluster the training queries into topics with k-means (arXiv:2104.06967, Section 3.1 and Eq. 10).

    The same queries, vectors and seed give the same bytes.

    Args:
        topics: a pair store (its path, or the result of `pairs`), of which the queries with pairs are clustered; or
            topics.
        encoder: the encoder that makes the queries' vectors.
        output: a folder for `clusters.tsv`, `statistics.json` and, with `picture`, `clusters.png`.
        clusters: the number of clusters; by default 1 for every 3 batches of queries, at most 2,000.
        batch_size: the batch size of the later training.
        metric: `spherical`, as in the released code, or `euclidean`, as in the paper.
        iterations: the most iterations of k-means.
        seed: the random seed of the first centroids.
        points_per_centroid: the most queries per cluster from which centroids are computed. If there are more queries,
            a random sample of them is used.
        device: the encoder's device, `cpu` or `cuda:0`. Where Faiss is not installed, torch computes the k-means there.
        backend: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the encoder card's.
        vectors: a `.npy` file of the queries' vectors. It is read if it exists, and written if not.
        labels: a file of `qid TAB label` lines, to compare with the clusters.
        picture: draw sample clusters, as in the paper's Figure 1.
        overwrite: replace clusters in `output`, once the new ones are complete.

    Raises:
        TasbError: there are too few queries, a file is faulty, the encoder does not exist, the vectors are of other
            queries or another encoder, or the output cannot be written.

    Example:
        pairs = tasb.pairs("scored.tsv", corpus="documents", topics="queries.tsv", output="pairs")
        clusters = tasb.cluster(pairs, encoder="tasb:minilm", output="clusters")
        tasb.train({"data": {"pairs": pairs, "clusters": clusters}, …})
    """
    folder = Path(output)
    names = (CLUSTERS, STATISTICS, *([PICTURE] if picture else []))
    require_folder(folder)
    if vectors is not None:
        require_folder(Path(vectors).parent, name="vectors")
    with new_files([folder / name for name in names], overwrite=overwrite, inputs=[topics, labels, vectors]) as files:
        queries = usable_queries(topics)
        known_labels = None if labels is None else read_labels(Path(labels), queries.ids)
        count = number_of_clusters(len(queries.ids), batch_size, clusters)
        check_parameters(len(queries.ids), count, iterations, points_per_centroid)
        if warning := small_clusters_warning(len(queries.ids), count, batch_size):
            LOG.info("%s", warning)
        source = QueryVectors(queries.texts, encoder, device, backend=backend)
        start = time.monotonic()
        found_vectors = source.encode() if vectors is None else source.read_or_encode(Path(vectors))
        encoded = time.monotonic()
        found = kmeans(
            found_vectors,
            count,
            metric=metric,
            iterations=iterations,
            seed=seed,
            points_per_centroid=points_per_centroid,
            progress=True,
            device=None if find_spec("faiss") else device,
        )
        times = f"vectors in {encoded - start:.1f} s, k-means in {time.monotonic() - encoded:.1f} s"
        found_sizes = sizes(found.assignment, count, batch_size)
        if count - found_sizes.empty == 1:
            LOG.warning(
                "all %d queries are in one cluster, so topic-aware batches are the same as random ones. To get more "
                "clusters, add queries, lower %s, or set %s",
                len(queries.ids),
                argument("batch_size"),
                argument("clusters"),
            )
        compared = agreement(queries.ids, found.assignment, known_labels, seed) if known_labels else None
        card = encoder_card(encoder)
        statistics = {
            "queries": {
                "source": source_name(topics),
                "clustered": len(queries.ids),
                "without_pairs": queries.without_pairs,
            },
            "encoder": {
                "name": encoder,
                "model": card.model,
                "query_tokens": min(TRAINING_QUERY_TOKENS, card.query_max_length),
                "device": device,
                "vectors_sha256": hashlib.sha256(np.ascontiguousarray(found_vectors).data).hexdigest(),
            },
            "k_means": {
                "metric": found.metric,
                "clusters": len(found.centroids),
                "dimension": found.centroids.shape[1],
                "iterations": len(found.splits),
                "seed": seed,
                "points_per_centroid": points_per_centroid,
                "training_queries": found.training_queries,
                "splits": sum(found.splits),
                "objective": found.objective,
                "objective_is": MEANING[found.metric],
            },
            "batch_size": batch_size,
            "versions": installed_versions(PACKAGES),
            "inertia": inertia(found_vectors, found.assignment),
            "sizes": dataclasses.asdict(found_sizes),
            "labels": dataclasses.asdict(compared) if compared else None,
        }
        _write(files[0], files[1], queries, found, statistics)
        lines = [
            times,
            _counts(queries, found, encoder, seed),
            _described(found_sizes, batch_size, compared),
            f"wrote {folder / CLUSTERS} and {folder / STATISTICS}",
        ]
        if picture:
            _draw(files[2], queries, found, found_vectors, encoder=encoder, seed=seed)
            lines.append(f"wrote {folder / PICTURE}")
    if not picture and overwrite:
        (folder / PICTURE).unlink(missing_ok=True)  # of an earlier run: it shows other clusters
    return Clusters(
        folder / CLUSTERS,
        statistics=folder / STATISTICS,
        picture=folder / PICTURE if picture else None,
        queries=len(queries.ids),
        clusters=count,
        sizes=found_sizes,
        labels=compared,
        summary="\n".join(lines),
    )


@dataclass(frozen=True)
class UsableQueries:
    """Queries that can be drawn for training.

    Args:
        ids: the qids.
        texts: one for each.
        without_pairs: the number of others that have no pairs.
    """

    ids: list[str]
    texts: list[str]
    without_pairs: int = 0


def usable_queries(topics: AnyTopics) -> UsableQueries:
    """The queries with pairs of a pair store (a folder), or all queries of topics.

    Raises:
        TasbError: neither of them, or a damaged one.
    """
    if not isinstance(topics, str | os.PathLike) or not Path(topics).is_dir():
        found = as_topics(topics)
        return UsableQueries(list(found), list(found.values()))
    from pyserini_tasb.data.pair_store import open_pair_store

    store = open_pair_store(Path(topics))
    usable = np.flatnonzero(np.diff(store.offsets))
    return UsableQueries(store.queries.ids(usable), store.queries.texts(usable), len(store.queries) - len(usable))


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
            expected="a batch size of 1 or more, and at least as many usable queries",
            found=f"{argument('batch_size', batch_size)} and {queries} usable queries",
            do=f"add queries, or choose another {argument('batch_size')} (and train with it)",
        )
    return wanted if wanted is not None else max(1, min(PAPER_CLUSTERS, queries // (BATCHES_PER_CLUSTER * batch_size)))


def small_clusters_warning(queries: int, clusters: int, batch_size: int) -> str | None:
    """The warning that clusters have, on average, fewer queries than a batch takes; None if they have enough."""
    if queries >= clusters * batch_size:
        return None
    default = number_of_clusters(queries, batch_size)
    # One cluster mixes all topics.
    instead = (
        f"{default} clusters (the default) would avoid it" if default > 1 else "add queries, or use a smaller batch"
    )
    return (
        f"{clusters} clusters have {queries / clusters:.1f} queries on average, fewer than a batch of {batch_size}: "
        f"batches will mix topics; {instead}"
    )


def _write(output: NewFile, about: NewFile, queries: UsableQueries, found: KMeans, statistics: dict[str, Any]) -> None:
    write_clusters(output, [[queries.ids[row] for row in rows] for rows in members(found.assignment)])
    described = {**statistics, "clusters_sha256": sha256(output.written_at)}
    about.write(json.dumps(described, indent=1) + "\n")


def _counts(queries: UsableQueries, found: KMeans, encoder: str, seed: int) -> str:
    without = f" ({queries.without_pairs:,} without pairs left out)" if queries.without_pairs else ""
    count = len(found.centroids)
    return (
        f"{len(queries.ids):,} queries{without} in {count:,} cluster{'s' if count > 1 else ''}, by {encoder}\n"
        f"{found.metric} k-means, {len(found.splits)} iterations, seed {seed}: "
        f"{found.objective[0]:.4f} -> {found.objective[-1]:.4f} ({MEANING[found.metric]})"
    )


def _described(found: Sizes, batch_size: int, compared: LabelAgreement | None) -> str:
    text = (
        f"queries in a cluster: min {found.min:,}, median {found.median:,g}, mean {found.mean:,.1f}, "
        f"max {found.max:,}; {found.empty:,} empty, {found.smaller_than_batch:,} smaller than a batch of {batch_size}"
    )
    if compared:
        text += (
            f"\n{compared.labels:,} labels of {compared.queries:,} queries: "
            f"purity {compared.purity:.3f} (random {compared.random_purity:.3f}), NMI {compared.nmi:.3f} "
            f"(random {compared.random_nmi:.3f})"
        )
    return text


def _draw(
    output: NewFile, queries: UsableQueries, found: KMeans, vectors: NDArray[np.float32], *, encoder: str, seed: int
) -> None:
    samples = sample_clusters(found, vectors, queries.texts, seed=seed)
    draw_clusters(
        output,
        samples,
        vectors,
        metric=found.metric,
        title=f"{len(samples)} of {len(found.centroids):,} clusters of {len(queries.ids):,} queries",
        subtitle=f"t-SNE of query vectors by {_model_name(encoder)}; {found.metric} k-means. "
        "Right: the queries nearest each centroid.",
        seed=seed,
    )


def _model_name(encoder: str) -> str:
    """A name for people: the card's and the hub's (`minilm (all-MiniLM-L6-v2)`), or the folder's."""
    card = encoder_card(encoder)
    hub = next((alias.rpartition("/")[2] for alias in card.aliases if "/" in alias), None)
    if card.name == UNNAMED:
        return Path(card.model).name
    return f"{card.name} ({hub})" if hub else card.name
