"""`search`: exact search over one Faiss index or several, with ties in a fixed order."""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encoding.index_manifest import index_encoders, require_encoder
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.named import as_topics
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_files import write_run
from pyserini_tasb.formats.run_table import RunTable
from pyserini_tasb.formats.text_columns import pack
from pyserini_tasb.indexes.build import use_threads
from pyserini_tasb.indexes.search import NO_HITS, Hits, ShardedIndex, search_folder
from pyserini_tasb.outputs import optional_file
from pyserini_tasb.recipes.lookup import default_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.encoders import TasbQueryEncoder
    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.recipes.types import Backend
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)


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
    threads: int | None = None,
) -> Run:
    """Search one Faiss index, or several as one.

    The search is exact for flat indexes. Equal scores are ordered by docid, descending, as trec_eval ranks them. The
    other queries of a batch do not change a query's hits.

    Args:
        index: a Faiss folder (the files `index` and `docid`), or several that are searched as one.
        topics: a name (`dl19-passage`), a TSV or JSONL file, or qid → text.
        encoder: the query encoder: `tasb`, `tasb:NAME`, a model's folder or hub id; by default the encoder that made
            the vectors, if the index names it.
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
        tag: the run's name, in the last column of TREC's format; by default the encoder's name.
        device: the encoder's device, `cpu` or `cuda:0`.
        backend: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the encoder card's.
        threads: the number of Faiss's threads; by default $OMP_NUM_THREADS, or else the cores that this process may
            use.

    Returns:
        the run; a `TimedRun` if `latency`.

    Raises:
        TasbError: the arguments contradict each other, a name or path does not exist, an index is damaged or of another
            dimension or encoder, or the run cannot be written.
    """
    if latency_queries is not None and not latency:
        raise TasbError(
            expected=f"{argument('latency_queries')} with {argument('latency')}",
            found=f"no {argument('latency')}",
            do="add it",
        )
    with optional_file(output, overwrite=overwrite, inputs=[index, topics, latency_queries]) as file:
        queries = as_topics(topics)
        timed = queries if latency_queries is None else as_topics(latency_queries)
        paths = [Path(path) for path in ([index] if isinstance(index, str | PathLike) else index)]
        shards = ShardedIndex(paths, mapped=not in_memory)
        threads = use_threads(threads)
        from pyserini_tasb.encoding.encoders import TasbQueryEncoder  # imports torch

        name = encoder or _encoder_that_made(paths[0])
        # Nothing kept: topics come once, and in a measurement each has to be encoded.
        query_encoder = TasbQueryEncoder(name, device=device, backend=backend, queries_kept=0)
        for path in shards.paths:
            require_encoder(path, query_encoder, allow_other=allow_other_encoder)
        if not in_memory:  # mapped, all are open in no time, and a damaged one is known before the first search
            for shard in range(len(shards.paths)):
                shards.open(shard, query_encoder.dimension)
        # One hit more, so that `hits` are left without the query's own document.
        depth = hits + remove_query
        found = shards.search(query_encoder.encode_batch(list(queries.values())), depth, batch_size)
        warning = shards.short_lists_warning(found, depth, query_encoder.dimension)
        if remove_query:
            found = [of_query.without(qid, shards.docids, hits) for qid, of_query in zip(queries, found, strict=True)]
        tag = tag or default_tag(name)
        run = Run(_table(queries, found, shards.docids), name=tag)
        if file is not None:
            write_run(file, run.table.blocks(), tag, output_format=output_format)
    if warning:
        LOG.warning("%s", warning)
    if not latency:
        return run
    texts = list(dict.fromkeys(timed.values()))
    times = measure_latency(query_encoder, shards, texts, depth)
    return TimedRun(run.table, name=tag, threads=threads, queries=len(texts), times=times)


class TimedRun(Run):
    """A run, and the times of its batches of queries.

    Args:
        threads: the number of Faiss's threads.
        queries: the number of different queries that were timed.
        times: a row for each batch size.
        others: the arguments of `Run`.
    """

    def __init__(self, *others: Any, threads: int, queries: int, times: Sequence[BatchTimes], **names: Any) -> None:
        super().__init__(*others, **names)
        self.threads, self.queries, self.times = threads, queries, times


def _encoder_that_made(folder: Path) -> str:
    """The name of the encoder that made an index's vectors."""
    known = index_encoders(folder)
    if not known:
        raise TasbError(
            where=str(folder),
            expected="an index that says which encoder made its vectors",
            found="the index names none, as every index that stock Pyserini makes",
            do=f"name it with {argument('encoder')}",
        )
    return known[0].name


def _table(qids: Iterable[str], found: Sequence[Hits], docids: Sequence[str]) -> RunTable:
    """Ranked hits as columns.

    Scores keep all digits. Six behind the point, as Pyserini writes, would make ties of scores that are none.
    """
    scores = np.concatenate([of_query.scores for of_query in found]).astype(np.float64)
    starts = np.concatenate([[0], np.cumsum([len(of_query) for of_query in found])]).astype(np.int64)
    ids = [docids[row].encode() for of_query in found for row in of_query.rows.tolist()]
    return RunTable(tuple(qids), starts, pack(ids), scores)


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
