"""How long queries take in batches, encoding and search apart: table 1 of the TAS-B paper (arXiv:2104.06967)."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.index.ranking import NO_HITS, Hits
from pyserini_tasb.index.search import search_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.encode import TasbQueryEncoder
    from pyserini_tasb.index.sharded_index import ShardedIndex

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
