"""`tasb search`: what `pyserini.search.faiss` does, over any number of indexes, mapped, and with ties decided."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_topics
from pyserini_tasb.index.sharded_index import ShardedIndex
from pyserini_tasb.index.threads import use_threads
from pyserini_tasb.index_manifest import require_encoder
from pyserini_tasb.pipelines.search.latency import latency_table, measure_latency
from pyserini_tasb.pipelines.search.run_file import write_ranked
from pyserini_tasb.rerank.command import default_tag

if TYPE_CHECKING:
    import argparse


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
    from pyserini_tasb.encode import TasbQueryEncoder  # imports torch

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
