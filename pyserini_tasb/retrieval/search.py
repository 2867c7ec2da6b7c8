"""`search`: exact search over one index or several, Faiss's or Lucene's, with ties in a fixed order."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encoding.index_manifest import require_encoder
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import FAISS, LUCENE
from pyserini_tasb.formats.named import as_topics
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_files import write_run
from pyserini_tasb.formats.run_table import RunTable, concatenated
from pyserini_tasb.formats.text_columns import pack
from pyserini_tasb.indexes.bm25 import Bm25, adjusted
from pyserini_tasb.indexes.build import use_threads
from pyserini_tasb.indexes.opening import DenseSearch, SearchWith, encoders_of
from pyserini_tasb.indexes.search import NO_HITS, Hits, ShardedIndex, search_folder
from pyserini_tasb.indexes.shards import LuceneShards, kind_of_shards, shard_paths
from pyserini_tasb.outputs import optional_file
from pyserini_tasb.ray_cluster.joining import connected
from pyserini_tasb.recipes.lookup import default_tag
from pyserini_tasb.retrieval.on_ray import RayShards
from pyserini_tasb.retrieval.retrievers import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Literal

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.encoders import TasbQueryEncoder
    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.indexes.rankings import Ranking
    from pyserini_tasb.indexes.torch_search import SearchPrecision
    from pyserini_tasb.recipes.types import Backend
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)
BM25 = "bm25"


def search(
    index: StrPath | Sequence[StrPath],
    *,
    topics: AnyTopics,
    encoder: str | None = None,
    output: StrPath | None = None,
    output_format: Literal["trec", "msmarco"] = "trec",
    overwrite: bool = False,
    hits: int = 1_000,
    batch_size: int = 64,
    remove_query: bool = False,
    in_memory: bool = False,
    allow_other_encoder: bool = False,
    latency: bool = False,
    latency_queries: AnyTopics | None = None,
    tag: str | None = None,
    device: str = "cpu",
    backend: Backend | None = None,
    search_with: SearchWith = "auto",
    search_precision: SearchPrecision = "fp32",
    threads: int | None = None,
    k1: float | None = None,
    b: float | None = None,
    ray: str | None = None,
) -> Run:
    """Search one index, or several as one: of vectors, with Faiss or torch, or of terms in Lucene, by BM25.

    The search is exact for flat indexes and vector folders. Equal scores are ordered by docid, descending, as trec_eval
    ranks them. The other queries of a batch do not change a query's hits. Lucene indexes get the run that
    `pyserini.search.lucene` gets from one index of all their documents: scores are rounded, and ties are apart, as
    Anserini does it.

    Args:
        index: a Faiss folder (the files `index` and `docid`), a vector folder, a Lucene index of terms, or several that
            are searched as one, of terms or of vectors; a pattern (`shards/*`) means all folders that match it.
        topics: a name (`dl19-passage`), a TSV or JSONL file, or qid → text.
        encoder: the query encoder: `tasb`, `tasb:NAME`, a model's folder or hub id; by default the encoder that made
            the vectors, if the index names it. Lucene takes none.
        output: a new file for the run, gzip if named `….gz`; `-` is standard output. By default no file is written.
        output_format: the format of `output`.
        overwrite: replace a file at `output`, once the new one is complete.
        hits: the number of documents for each query.
        batch_size: the number of queries that are encoded and searched together.
        remove_query: drop each query's own document, whose docid is the query's id.
        in_memory: load each index into memory instead of mapping its file.
        allow_other_encoder: search even if the index does not list the encoder; scores may be meaningless.
        latency: also measure the time of encoding and search in batches of 1, 10 and 2,000 queries (see `TimedRun`).
        latency_queries: topics to time, each text once; by default `topics`.
        tag: the run's name, in the last column of TREC's format; by default the encoder's name, or `bm25`.
        device: the device of the encoder and of torch's search, `cpu` or `cuda:0`. With `cuda`, torch searches on all
            GPUs. With `ray` and a GPU, each process with shards for torch has a GPU of the cluster.
        backend: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the encoder card's.
        search_with: `faiss`; `torch`, for flat Faiss folders and vector folders; or `auto`: torch for vector folders,
            and for flat folders that fit on the GPU or if Faiss is missing, otherwise Faiss.
        search_precision: torch's number format: `fp32`, or `bf16` or `fp16`, which take half of the memory and may miss
            hits at the end of a list (docs/indexes.md).
        threads: the number of threads that search; by default $OMP_NUM_THREADS, or else the cores that this process may
            use. With `ray`, the threads in which each process searches its shards; by default 1.
        k1: how soon more occurrences of a term stop to count for BM25; by default Anserini's 0.9.
        b: how much the length of a document counts for BM25, from 0 to 1; by default Anserini's 0.4.
        ray: search in the processes of a Ray cluster: its address (`host:6379`), or `local` for one on this machine.
            The run is the same, byte for byte. Shards must be in folders that every node sees under the same path.

    Returns:
        the run; a `TimedRun` if `latency`.

    Raises:
        TasbError: the arguments contradict each other, a name or path does not exist, an index is damaged or of another
            dimension or encoder, the cluster has too little memory for a shard, or the run cannot be written.
        FailedError: a process of the cluster that has shards was lost again and again.
    """
    if latency_queries is not None and not latency:
        raise TasbError(
            expected=f"{argument('latency_queries')} with {argument('latency')}",
            found=f"no {argument('latency')}",
            do="add it",
        )
    paths = shard_paths(index)
    with optional_file(output, overwrite=overwrite, inputs=[*paths, topics, latency_queries]) as file:
        queries = as_topics(topics)
        timed = queries if latency_queries is None else as_topics(latency_queries)
        kind = kind_of_shards(paths)
        how = DenseSearch(search_with, device, search_precision, not in_memory, threads)
        _require_fitting(kind, how, encoder=encoder, latency=latency, k1=k1, b=b, ray=ray)
        asked = _Asked(kind, queries, hits, batch_size, remove_query=remove_query)
        if kind == LUCENE:
            name, warning = BM25, ""
            bm25 = Bm25(Bm25.k1 if k1 is None else k1, Bm25.b if b is None else b)
            table = _of_lucene(asked, paths, bm25, ray, threads)
        else:
            from pyserini_tasb.encoding.encoders import TasbQueryEncoder  # imports torch

            name = encoder or _encoder_that_made(paths[0])
            # Nothing kept: topics come once, and in a measurement each has to be encoded.
            query_encoder = TasbQueryEncoder(name, device=device, backend=backend, queries_kept=0)
            for path in paths:
                known = encoders_of(path)
                require_encoder(path, query_encoder, allow_other=allow_other_encoder, known=known)
            used = use_threads(threads)
            if ray is None:
                shards = ShardedIndex(paths, how)
                table, warning = _of_faiss(asked, shards, query_encoder, look_first=not in_memory)
            else:
                table, warning = _of_faiss_on_ray(asked, paths, query_encoder, ray, how)
        tag = tag or default_tag(name)
        run = Run(table, name=tag)
        if file is not None:
            write_run(file, run.table.blocks(), tag, output_format=output_format)
    if warning:
        LOG.warning("%s", warning)
    if not latency:
        return run
    texts = list(dict.fromkeys(timed.values()))
    times = measure_latency(query_encoder, shards, texts, asked.depth)
    return TimedRun(run.table, name=tag, threads=used, queries=len(texts), times=times)


def _require_fitting(
    kind: str,
    how: DenseSearch,
    *,
    encoder: str | None,
    latency: bool,
    k1: float | None,
    b: float | None,
    ray: str | None,
) -> None:
    """Refuse options of the other kind of index."""
    if kind == LUCENE and (how.needs_torch or how.search_with != "auto"):
        raise TasbError(
            expected=f"vectors, with {argument('search_with')} and {argument('search_precision')}",
            found=LUCENE,
            do="leave them out",
        )
    if latency and (kind == LUCENE or ray is not None):
        raise TasbError(
            expected=f"{argument('latency')} of Faiss indexes, searched in this process",
            found=LUCENE if kind == LUCENE else f"{argument('ray')}",
            do=f"leave out {argument('latency')}",
        )
    if kind == LUCENE and encoder is not None:
        raise TasbError(
            expected=f"{argument('index')} of vectors beside {argument('encoder')}",
            found="a Lucene index of terms, which BM25 searches",
            do=f"leave out {argument('encoder')}",
        )
    if kind == FAISS and not (k1 is None and b is None):
        raise TasbError(
            expected=f"a Lucene index beside {argument('k1')} and {argument('b')}, which are BM25's",
            found=FAISS,
            do="leave them out",
        )


def _of_lucene(asked: _Asked, paths: Sequence[Path], bm25: Bm25, ray: str | None, threads: int | None) -> RunTable:
    """A table of the hits of BM25 in Lucene indexes, here or in a cluster."""
    texts = list(asked.queries.values())
    if ray is None:
        return asked.in_batches(LuceneShards(paths, bm25=bm25).search_batches, texts)
    with connected(ray), contextlib.closing(RayShards(paths, LUCENE, threads=threads, bm25=bm25)) as shards:
        shards.load()
        return asked.in_batches(shards.search, texts)


def _of_faiss(
    asked: _Asked, shards: ShardedIndex, encoder: TasbQueryEncoder, *, look_first: bool
) -> tuple[RunTable, str]:
    """A table of Faiss's hits in this process, in one shard after the other; and a warning."""
    if look_first:  # mapped, all are open in no time, and a damaged one is known before the first search
        for shard in range(len(shards.paths)):
            shards.open(shard, encoder.dimension)
    found = shards.search(encoder.encode_batch(list(asked.queries.values())), asked.depth, asked.batch_size)
    warning = shards.short_lists_warning(list(map(len, found)), asked.depth, encoder.dimension)
    if asked.remove_query:
        pairs = zip(asked.queries, found, strict=True)
        found = [of_query.without(qid, shards.docids, asked.hits) for qid, of_query in pairs]
    docids = (shards.docids[row] for of_query in found for row in of_query.rows.tolist())
    return _table(asked.queries, [of_query.scores for of_query in found], docids), warning


def _of_faiss_on_ray(
    asked: _Asked,
    paths: Sequence[Path],
    encoder: TasbQueryEncoder,
    ray: str,
    how: DenseSearch,
) -> tuple[RunTable, str]:
    """A table of the hits of vectors in the processes of a cluster, in all shards at once; and a warning."""
    with (
        connected(ray),
        contextlib.closing(
            RayShards(paths, FAISS, dimension=encoder.dimension, how=how, threads=how.threads)
        ) as shards,
    ):
        shards.load()
        table = asked.in_batches(shards.search, encoder.encode_batch(list(asked.queries.values())))
    if min(asked.lengths, default=asked.depth) == asked.depth:
        return table, ""
    # The docids of all shards say whether there are more; until now, this process needed none of them.
    return table, ShardedIndex(paths, how).short_lists_warning(asked.lengths, asked.depth, encoder.dimension)


@dataclass
class _Asked:
    """The queries of a search, and the table of what is found for them batch by batch.

    Attributes:
        lengths: how many documents were found for each query so far.
    """

    kind: str
    queries: Topics
    hits: int
    batch_size: int
    remove_query: bool
    lengths: list[int] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """Documents to find for a query: one more, so that `hits` are left without the query's own document."""
        return self.hits + self.remove_query

    def in_batches(self, search: Callable[[Iterable[Any], int], Iterable[list[Ranking]]], encoded: Any) -> RunTable:
        """A table of all queries, of which a batch after the other is searched in all shards.

        Args:
            search: batches of encoded queries and a depth → each batch's rankings.
            encoded: the queries as the shards take them: vectors [queries, dimension], or texts.
        """
        from tqdm.auto import tqdm

        tables = []
        qids = iter(self.queries)
        batches = (encoded[first : first + self.batch_size] for first in range(0, len(encoded), self.batch_size))
        with tqdm(total=len(encoded), desc="searching", unit=" queries") as progress:
            for found in search(batches, self.depth):
                of_batch = list(itertools.islice(qids, len(found)))
                self.lengths += map(len, found)
                rankings = list(map(adjusted, found)) if self.kind == LUCENE else found
                if self.remove_query:
                    pairs = zip(of_batch, rankings, strict=True)
                    rankings = [ranking.without(qid, self.hits) for qid, ranking in pairs]
                scores = [each.scores.astype(np.float64) for each in rankings]
                if self.kind == LUCENE:
                    # round() gives the very number that is read where the score was printed.
                    scores = [np.array([round(score, DECIMALS) for score in each.tolist()]) for each in scores]
                table = _table(of_batch, scores, [docid for each in rankings for docid in each.docids])
                tables.append(table.ranked())  # Anserini's scores may be equal after all
                progress.update(len(found))
        return concatenated(tables)


class TimedRun(Run):
    """A run, and the times of its batches of queries.

    Args:
        threads: the number of threads that searched.
        queries: the number of different queries that were timed.
        times: a row for each batch size.
        others: the arguments of `Run`.
    """

    def __init__(self, *others: Any, threads: int, queries: int, times: Sequence[BatchTimes], **names: Any) -> None:
        super().__init__(*others, **names)
        self.threads, self.queries, self.times = threads, queries, times


def _encoder_that_made(folder: Path) -> str:
    """The name of the encoder that made an index's vectors."""
    known = encoders_of(folder)
    if not known:
        raise TasbError(
            where=str(folder),
            expected="an index that says which encoder made its vectors",
            found="the index names none, as every index that stock Pyserini makes",
            do=f"name it with {argument('encoder')}",
        )
    return known[0].name


def _table(qids: Iterable[str], scores: Sequence[NDArray[Any]], docids: Iterable[str]) -> RunTable:
    """Ranked hits as columns.

    Scores keep all digits. Six behind the point, as Pyserini writes, would make ties of scores that are none.

    Args:
        qids: the queries.
        scores: [hits] of each query.
        docids: the docid of each hit, one query's after the other.
    """
    starts = np.concatenate([[0], np.cumsum([len(each) for each in scores])]).astype(np.int64)
    columns = np.concatenate([np.empty(0), *scores]).astype(np.float64)
    return RunTable(tuple(qids), starts, pack([docid.encode() for docid in docids]), columns)


# Batch size → batches that are timed, as in table 1 of the TAS-B paper (arXiv:2104.06967).
BATCHES = {1: 100, 10: 20, 2_000: 3}


@dataclass(frozen=True)
class BatchTimes:
    """Milliseconds of batches of one size.

    Args:
        size: queries of a batch.
        encode: [batches] texts to vectors.
        search: [batches] vectors to ranked documents, over all shards.
    """

    size: int
    encode: NDArray[np.float64]
    search: NDArray[np.float64]


def measure_latency(
    encoder: TasbQueryEncoder, index: ShardedIndex, queries: Sequence[str], depth: int
) -> list[BatchTimes]:
    """Measure the times of encoding and search, in batches of each size in `BATCHES` up to the number of queries.

    A first batch of each size is not timed.

    Args:
        encoder: the query encoder. It must not keep vectors of earlier queries.
        index: the index to search.
        queries: different texts, because the encoder encodes equal ones once; batches take them in turn.
        depth: hits of each query.
    """
    batches = {size: _encoded(encoder, queries, size, count) for size, count in BATCHES.items() if size <= len(queries)}
    for shard in range(len(index.paths)):
        _search_shard(index, shard, depth, [batch for of_size in batches.values() for batch in of_size])
    return [
        BatchTimes(
            size,
            np.array([1_000 * batch.encode_seconds for batch in of_size]),
            np.array([1_000 * batch.search_seconds for batch in of_size]),
        )
        for size, of_size in batches.items()
    ]


@dataclass
class _Batch:
    vectors: NDArray[np.float32]
    encode_seconds: float
    found: list[Hits]
    search_seconds: float = 0.0


def _encoded(encoder: TasbQueryEncoder, queries: Sequence[str], size: int, count: int) -> list[_Batch]:
    endless = itertools.cycle(queries)
    encoder.encode_batch(queries[:size])
    batches = []
    for _ in range(count):
        batch = list(itertools.islice(endless, size))
        start = time.perf_counter()
        vectors = encoder.encode_batch(batch)
        batches.append(_Batch(vectors, time.perf_counter() - start, [NO_HITS] * size))
    return batches


def _search_shard(index: ShardedIndex, shard: int, depth: int, batches: Sequence[_Batch]) -> None:
    folder = index.open(shard, batches[0].vectors.shape[1])
    search_folder(folder, batches[0].vectors, depth)
    for batch in batches:
        start = time.perf_counter()
        batch.found = index.merged(batch.found, search_folder(folder, batch.vectors, depth), shard, depth)
        batch.search_seconds += time.perf_counter() - start
