"""The quality of an index: its recall compared with exact search, its latency, and advice if recall is low."""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pyserini_tasb.encoding.index_manifest import require_among
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.indexes.torch_search import TorchFlat
from pyserini_tasb.indexes.vector_source import sampled_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.encoders import TasbQueryEncoder
    from pyserini_tasb.encoding.index_manifest import EncoderIdentity
    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.indexes.compression import Trained
    from pyserini_tasb.indexes.vector_source import VectorSource
    from pyserini_tasb.recipes.types import Backend

    Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]
    """One query's vector [1, dimension] and a depth → the rows found [at most depth]."""


DEPTHS = (10, 100, 1_000)  # the last is what `tasb search` asks for
TIES = 100
WARM_UP = 3
FROM_TOPICS, FROM_VECTORS = 1_000, 200
LEAST_RECALL = 0.9
MORE = 4  # the next try looks at so many times as much
OTHER_KIND = "take another --kind of `tasb index` (flat and fp16 compare every vector)"


@dataclass(frozen=True)
class Quality:
    """Recall and latency, measured with sample queries.

    Args:
        recall: depth → share of the exact top that a search for that many hits finds, mean over queries. Where there
            are fewer vectors than that, all of them are the exact top.
        hits: depth → how many hits that search finds, mean over queries.
        p50, p99: milliseconds of one query, searched alone to the greatest depth.
    """

    recall: dict[int, float]
    hits: dict[int, float]
    p50: float
    p99: float


class Build(Protocol):
    """A way to make an index and to search it."""

    @property
    def described(self) -> str: ...
    def write(self, source: VectorSource, folder: Path) -> Trained | None:
        """Write it; how codes were trained with queries, if they were."""
        ...

    def search(self, folder: Path, source: VectorSource, among: NDArray[np.int64]) -> Search: ...
    def advice(self, folder: Path) -> str:
        """Advice on how to get better answers."""
        ...


def measure(build: Build, folder: Path, source: VectorSource, queries: NDArray[np.float32]) -> Quality:
    """Search each query by itself and compare the hits with exact search over the source.

    Args:
        build: what made the index.
        folder: the folder of the index.
        source: the vectors that it is of.
        queries: [queries, dimension].
    """
    # Deeper than is looked at: what ties with the last hit that counts is as good as that one.
    scores, rows = exact_top(source, queries, max(DEPTHS) + TIES)
    search = build.search(folder, source, rows)
    recall, hits = {}, {}
    for depth in DEPTHS:  # each by a search of its own: graphs and refinements look further when asked for more
        for query in queries[:WARM_UP]:
            search(query[np.newaxis], depth)
        found, milliseconds = [], []
        for query in queries:
            start = time.perf_counter()
            found.append(search(query[np.newaxis], depth))
            milliseconds.append(1000 * (time.perf_counter() - start))
        recall[depth] = _recall(scores, rows, found, depth)
        hits[depth] = float(np.mean([len(each) for each in found]))
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return Quality(recall, hits, float(p50), float(p99))


def _recall(scores: NDArray[np.float32], rows: NDArray[np.int64], found: list[NDArray[np.int64]], depth: int) -> float:
    depth = min(depth, scores.shape[1])
    shares = []
    for query, hits in enumerate(found):
        # Equal vectors get scores that differ in their last bits, by where a block of the multiplication ends.
        least = scores[query, depth - 1] - 1e-6 * abs(scores[query, depth - 1])
        good = rows[query, scores[query] >= least]
        shares.append(min(len(np.intersect1d(hits[:depth], good)), depth) / depth)
    return float(np.mean(shares))


def exact_top(
    source: VectorSource, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best inner products of every query, and their rows in the source: both [queries, min(k, vectors)].

    Args:
        source: is read once, block by block.
        queries: [queries, dimension].
        k: how many.
    """
    import faiss

    scores = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    start = 0
    for _, vectors in source.blocks():
        block = np.ascontiguousarray(vectors, np.float32)
        found = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        scores = np.hstack([scores, found[0]])
        rows = np.hstack([rows, found[1] + start])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
        start += len(block)
    return scores, rows


def docids_at(source: VectorSource, rows: NDArray[np.int64]) -> dict[str, int]:
    """The row of each docid, for some rows of the source."""
    wanted = np.unique(rows)
    found: dict[str, int] = {}
    start = 0
    for docids, _ in source.blocks():
        first, last = np.searchsorted(wanted, (start, start + len(docids)))
        found |= {docids[row - start]: row for row in wanted[first:last].tolist()}
        start += len(docids)
    return found


def sample_queries(
    source: VectorSource,
    encoders: Sequence[EncoderIdentity],
    topics: AnyTopics | None,
    encoder: str | None,
    *,
    seed: int,
    backend: Backend | None,
) -> tuple[NDArray[np.float32], str]:
    """Vectors [queries, dimension], and what they are in words.

    Args:
        source: the vectors that are indexed.
        encoders: the encoders of these vectors.
        topics: the queries; without, passages' own vectors take their place.
        encoder: the encoder of the topics.
        seed: the seed of what is drawn, where there are more than are needed.
        backend: what computes the queries' vectors.

    Raises:
        TasbError: one of topics and encoder without the other, no such thing, vectors of another dimension, or an
            encoder that does not belong to the vectors.
    """
    if topics is None and encoder is None:
        vectors = sampled_rows(source, FROM_VECTORS, seed)
        return vectors, f"{len(vectors)} vectors of the collection, drawn at random (no --topics given)"
    if topics is None or encoder is None:
        raise TasbError(
            expected=f"{argument('topics')} and {argument('encoder')} together",
            found=f"{argument('topics' if encoder is None else 'encoder')} alone",
            do="give both, or neither: then vectors of the collection serve as queries",
        )
    from pyserini_tasb.formats.named import as_topics  # brings tables of runs, which no search needs

    texts = list(as_topics(topics).values())
    if len(texts) > FROM_TOPICS:
        texts = np.random.default_rng(seed).choice(texts, FROM_TOPICS, replace=False).tolist()
    query_encoder = open_query_encoder(encoder, source, "encoder", backend)
    if encoders and query_encoder.identity is not None:
        require_among(encoders, asdict(query_encoder.identity), encoder, f"{argument('encoder')}")
    name = topics if isinstance(topics, str | PathLike) else "the topics given"
    return query_encoder.encode_batch(texts), f"{len(texts)} queries of {name}, encoded by {encoder}"


def open_query_encoder(name: str, source: VectorSource, parameter: str, backend: Backend | None) -> TasbQueryEncoder:
    """An encoder whose vectors are as long as those to index.

    Args:
        name: what `--encoder` takes.
        source: the vectors that are indexed.
        parameter: the argument that names it, for messages.
        backend: what computes vectors.

    Raises:
        TasbError: no such encoder, or it makes vectors of another dimension.
    """
    from pyserini_tasb.encoding.encoders import TasbQueryEncoder  # imports torch

    encoder = TasbQueryEncoder(name, backend=backend)
    if encoder.dimension != source.dimension:
        raise TasbError(
            where=f"{argument(parameter, name)}",
            expected=f"vectors of {source.dimension} dimensions, as those to index",
            found=f"{encoder.dimension} dimensions",
            do="name the encoder that made the vectors",
        )
    return encoder


def quality_warning(quality: Quality, count: int, advice: str) -> str:
    """A warning about weak answers of a new index, with what to do; empty if they are not weak.

    Args:
        quality: the measured quality.
        count: vectors in the index.
        advice: what to do.
    """
    weak = [f"recall@{depth} is {share:.4f}" for depth, share in quality.recall.items() if share < LEAST_RECALL]
    short = [
        f"a search for {min(depth, count):,} hits finds {hits:,.0f} on average"
        for depth, hits in quality.hits.items()
        if hits < min(depth, count)
    ]
    return f"weak answers: {'; '.join([*weak, *short])}\n  do this:  {advice}" if weak or short else ""


def short_lists_warning(lengths: Sequence[int], asked: int, docids: Sequence[object], advice: str) -> str:
    """A warning about lists of hits that are shorter than asked, with what to do; empty if none is.

    Args:
        lengths: the lengths of each query's list.
        asked: hits that each query was to get.
        docids: the docids of the index. If it has fewer documents than that, a list of all of them is complete.
        advice: what to do.
    """
    if min(lengths, default=asked) >= asked:
        return ""
    most = sum(1 for _ in itertools.islice(_distinct(docids), asked))
    short = sum(length < most for length in lengths)
    if not short:
        return ""
    mean = sum(lengths) / len(lengths)
    return (
        f"{short:,} of {len(lengths):,} queries have fewer than {most:,} hits ({mean:,.0f} on average): "
        f"the search covers only a part of the index\n  do this:  {advice}"
    )


def faiss_advice(index: Any) -> str:
    """Options of `tasb index` that give better answers than this Faiss index."""
    if isinstance(index, TorchFlat):
        return OTHER_KIND
    import faiss

    advice = []
    inverted: Any = faiss.try_extract_index_ivf(index)
    if inverted is not None and inverted.nprobe < inverted.nlist:
        probes = min(inverted.nlist, MORE * inverted.nprobe)
        advice.append(f"--parameters nprobe={probes} (now {inverted.nprobe} of {inverted.nlist} lists are searched)")
    stages = list(_stages(index))
    last = stages[-1]
    if hasattr(last, "hnsw"):
        advice.append(f"--parameters efSearch={MORE * last.hnsw.efSearch}")
    codes = getattr(last, "storage", None) or last
    refined = next((stage for stage in stages if hasattr(stage, "k_factor")), None)
    if refined is not None:
        advice.append(f"--parameters k_factor_rf={MORE * refined.k_factor:g}")
    elif getattr(faiss.downcast_index(codes), "code_size", 0) < 2 * index.d:  # fewer than 16 bits a number
        advice.append("--refine fp16, which ranks candidates by the original vectors")
        if isinstance(faiss.downcast_index(codes), faiss.IndexScalarQuantizer):
            # A scalar quantiser has one scale for all vectors, so that the longest leaves few steps for all others.
            advice.append("--kind RR,RaBitQ8, which keeps each vector's length beside its code")
    return (
        f"make the index again (`tasb index`) with {'; with '.join(advice)}; or {OTHER_KIND}" if advice else OTHER_KIND
    )


def _stages(index: Any) -> Iterator[Any]:
    """The index, and the one inside a refinement or a change of the vectors."""
    import faiss

    while index is not None:
        index = faiss.downcast_index(index)
        yield index
        index = getattr(index, "base_index", None) or getattr(index, "index", None)


def _distinct(docids: Sequence[object]) -> Iterator[object]:
    seen: set[object] = set()
    for docid in docids:
        if docid not in seen:
            seen.add(docid)
            yield docid
