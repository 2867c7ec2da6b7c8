"""`tasb search`: what `pyserini.search.faiss` does, over any number of indexes, mapped, and with ties decided."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.artifacts import whole_text_file
from pyserini_tasb.encoding.index_manifest import require_encoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_topics
from pyserini_tasb.indexes.build import use_threads
from pyserini_tasb.indexes.search import NO_HITS, Hits, ShardedIndex, search_folder
from pyserini_tasb.recipes.lookup import default_tag

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.encoding.encoders import TasbQueryEncoder


def run(arguments: argparse.Namespace) -> int:
    """Write the run at `arguments.output`; 0.

    Raises:
        TasbError: options that do not go together, a name or path that leads nowhere, a damaged index, one of another
            dimension or encoder, or a run that cannot be written.
    """
    if arguments.latency_queries and not arguments.latency:
        raise TasbError(expected="--latency-queries with --latency", found="no --latency", do="add it")
    topics = load_topics(arguments.topics)
    timed = load_topics(arguments.latency_queries) if arguments.latency_queries else topics
    index = ShardedIndex([Path(path) for path in arguments.index], mapped=not arguments.in_memory)
    threads = use_threads(arguments.threads)
    from pyserini_tasb.encoding.encoders import TasbQueryEncoder  # imports torch

    # Nothing kept: topics come once, and in a measurement each has to be encoded.
    encoder = TasbQueryEncoder(arguments.encoder, device=arguments.device, queries_kept=0)
    for path in index.paths:
        require_encoder(path, encoder)
    if not arguments.in_memory:  # mapped, all are open in no time, and a damaged one is known before the first search
        for shard in range(len(index.paths)):
            index.open(shard, encoder.dimension)
    # One hit more, so that `--hits` are left without the query's own document.
    depth = arguments.hits + arguments.remove_query
    found = index.search(encoder.encode_batch(list(topics.values())), depth, arguments.batch_size)
    warning = index.short_lists_warning(found, depth, encoder.dimension)
    if arguments.remove_query:
        found = [hits.without(qid, index.docids, arguments.hits) for qid, hits in zip(topics, found, strict=True)]
    tag = arguments.tag or default_tag(arguments.encoder)
    write_ranked(
        Path(arguments.output),
        dict(zip(topics, found, strict=True)),
        index.docids,
        form=arguments.output_format,
        tag=tag,
    )
    print(
        f"{arguments.output}: {len(topics)} queries, {sum(map(len, found)):,} hits, {len(index.paths)} folders searched"
    )
    if warning:
        print(f"tasb search: warning: {warning}", file=sys.stderr)
    if arguments.latency:
        queries = list(dict.fromkeys(timed.values()))
        print(f"{threads} threads, {arguments.hits} hits, {len(queries)} different queries")
        print(latency_table(measure_latency(encoder, index, queries, depth)))
    return 0


# --------
# A run in the formats of `pyserini.search.faiss`: TREC's and MS MARCO's.

FORMATS = {"trec": "{qid} Q0 {docid} {rank} {score} {tag}\n", "msmarco": "{qid}\t{docid}\t{rank}\n"}


def write_ranked(path: Path, found: Mapping[str, Hits], docids: Sequence[str], *, form: str, tag: str) -> None:
    """Write ranked hits; `path` is replaced once all of them are on disk.

    A score gets the digits that tell it from every other float32. Six behind the point, as Pyserini writes, would make
    ties of scores that are none.

    Args:
        path: the run.
        found: qid → hits, in their order.
        docids: of the hits' rows.
        form: of `FORMATS`.
        tag: the last column of TREC's.

    Raises:
        TasbError: the file cannot be written.
    """
    line = FORMATS[form].format
    with whole_text_file(path) as out:
        for qid, hits in found.items():
            for rank, (score, row) in enumerate(zip(hits.scores, hits.rows.tolist(), strict=True), 1):
                out.write(line(qid=qid, docid=docids[row], rank=rank, score=score, tag=tag))


# --------
# How long queries take in batches, encoding and search apart: table 1 of the TAS-B paper (arXiv:2104.06967).

# Batch size → batches that are timed.
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
    """Time batches of each size in `BATCHES` that is not above the number of queries, after one that is not timed.

    Args:
        encoder: of the queries; one that keeps vectors of earlier queries would be timed doing nothing.
        index: to search.
        queries: all different, because the encoder encodes equal ones once; batches take them in turn.
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


def latency_table(times: Sequence[BatchTimes]) -> str:
    """The times as text: a line for each batch size, and for each that was left out."""
    columns = [f"{part} {value}" for part in ("encode", "search", "total") for value in ("avg", "p50", "p99")]
    lines = ["milliseconds a batch".ljust(26) + "".join(name.rjust(12) for name in columns)]
    for row in times:
        parts = (row.encode, row.search, row.encode + row.search)
        values = [(part.mean(), *np.percentile(part, (50, 99))) for part in parts]
        head = f"batch {row.size:,} ({len(row.encode)} timed)".ljust(26)
        lines.append(head + "".join(f"{value:12.2f}" for of_part in values for value in of_part))
    left_out = sorted(BATCHES.keys() - {row.size for row in times})
    lines += [f"batch {size:,}: left out, it needs as many different queries (--latency-queries)" for size in left_out]
    return "\n".join(lines)


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
