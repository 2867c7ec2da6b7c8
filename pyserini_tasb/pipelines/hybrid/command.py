"""`tasb hybrid`: what `pyserini.search.hybrid` does, for any recipe: search all inputs, fuse, write one run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate import load_topics
from pyserini_tasb.evaluate.columnar import write_run_tables
from pyserini_tasb.fuse.recipe import fusion_of, remove_query_note, weight_note
from pyserini_tasb.index.threads import use_threads
from pyserini_tasb.interruption import StopRequest
from pyserini_tasb.pipelines.hybrid.hybrid_search import HybridSearch
from pyserini_tasb.pipelines.hybrid.opening import open_retriever
from pyserini_tasb.pipelines.hybrid.recipe_inputs import DENSE, with_given
from pyserini_tasb.recipes import fusion_recipe

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Write the fused run at `arguments.output`; 0.

    Raises:
        TasbError: a recipe that names no index for an input, an index that is none or of another kind, dimension or
            collection, topics that are none, or a run that cannot be written. What stood at the output before is
            still there.
        KeyboardInterrupt: asked to stop, likewise.
    """
    recipe = with_given(
        fusion_recipe(arguments.recipe, arguments.set),
        arguments.dense_index,
        arguments.sparse_index,
        arguments.encoder,
    )
    fusion = fusion_of(recipe)
    topics = load_topics(arguments.topics)
    depth = arguments.hits or recipe.depth
    for note in filter(None, [weight_note(recipe, depth), remove_query_note(recipe, removed=arguments.remove_query)]):
        print(f"tasb hybrid: note: {note}", file=sys.stderr)
    threads = use_threads(arguments.threads)
    search = HybridSearch(
        [open_retriever(source, topics, arguments.device) for source in recipe.inputs],
        [source.kind in DENSE for source in recipe.inputs],
        fusion,
        depth,
        threads,
        arguments.batch_size,
        remove_query=arguments.remove_query,
    )
    # A JVM takes Ctrl-C for itself, and ends the process where it stands; from here on Python is asked again.
    with StopRequest() as stop:
        fused = search.fused(topics, stop)
        tag = arguments.tag or recipe.name
        hits = write_run_tables(Path(arguments.output), fused, tag, form=arguments.output_format)
    for retriever in search.retrievers:
        if warning := retriever.warning:
            print(f"tasb hybrid: warning: {retriever.name}: {warning}", file=sys.stderr)
    searched = ", ".join(retriever.name for retriever in search.retrievers)
    print(f"{arguments.output}: {len(topics)} queries, {hits:,} hits of {searched}")
    return 0
