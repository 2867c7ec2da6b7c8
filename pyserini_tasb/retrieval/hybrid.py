"""`tasb hybrid`: what `pyserini.search.hybrid` does, for any recipe: search all inputs, fuse, write one run."""

from __future__ import annotations

import collections
import contextlib
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_topics
from pyserini_tasb.formats.run_files import write_run
from pyserini_tasb.formats.run_table import RunTable, without_own_documents
from pyserini_tasb.fusion.fuse import fuse_tables, note_weights
from pyserini_tasb.fusion.methods import Fusion
from pyserini_tasb.indexes.build import use_threads
from pyserini_tasb.recipes.lookup import fusion_recipe
from pyserini_tasb.retrieval.inputs import DENSE, with_given
from pyserini_tasb.retrieval.retrievers import open_retriever
from pyserini_tasb.workers import StopRequest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.retrieval.retrievers import Retriever


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
    fusion = Fusion.from_recipe(recipe)
    topics = load_topics(arguments.topics)
    depth = arguments.hits or recipe.depth
    note_weights(recipe, depth, removed=arguments.remove_query)
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
        hits = write_run(Path(arguments.output), fused, tag, output_format=arguments.output_format)
    for retriever in search.retrievers:
        if warning := retriever.warning:
            print(f"tasb hybrid: warning: {retriever.name}: {warning}", file=sys.stderr)
    searched = ", ".join(retriever.name for retriever in search.retrievers)
    print(f"{arguments.output}: {len(topics)} queries, {hits:,} hits of {searched}")
    return 0


# --------
# Whether retrievers search the same collection.

DOCIDS_LOOKED_UP = 1_000


def require_one_collection(retrievers: Sequence[Retriever], runs: Sequence[RunDict]) -> bool:
    """Refuse retrievers of different collections.

    Two rankings may well have no document in common. Only where neither index has a document that the other found
    are they of different collections.

    Args:
        retrievers: what was searched.
        runs: what each found for some queries.

    Returns:
        Whether all of them found something, so that nothing is left to be seen from further queries.

    Raises:
        TasbError: two have no document in common.
    """
    found = [list(dict.fromkeys(docid for ranking in run.values() for docid in ranking)) for run in runs]
    for (one, docids), (other, others) in itertools.combinations(zip(retrievers, found, strict=True), 2):
        if not docids or not others or not set(docids).isdisjoint(others):
            continue
        if not other.has_any(docids[:DOCIDS_LOOKED_UP]) and not one.has_any(others[:DOCIDS_LOOKED_UP]):
            raise TasbError(
                where=other.name,
                expected=f"documents of the collection that {one.name} has, such as {_examples(docids)}",
                found=f"others, such as {_examples(others)}; not one in common",
                do="index the same collection for both, with the same docids",
            )
    return all(found)


def _examples(docids: Iterable[str]) -> str:
    return ", ".join(itertools.islice(docids, 2))


# --------
# Search every input of a recipe and fuse what is found, block of queries by block of queries.

# All queries are encoded with the first block; meanwhile the others need not wait.
BLOCKS_AHEAD = 4


@dataclass(frozen=True)
class HybridSearch:
    """What is searched, and how it is fused.

    Attributes:
        retrievers: one for each of the fusion's runs, in its order.
        dense: which of them are dense; these are searched in this thread, beside the others.
        fusion: how.
        hits: documents that each retriever is asked for.
        threads: that each retriever may use.
        batch_size: queries of a block; the hits of a few blocks are in memory at a time.
        remove_query: drop the document whose docid is the query's id from each retriever's hits.
    """

    retrievers: Sequence[Retriever]
    dense: Sequence[bool]
    fusion: Fusion
    hits: int
    threads: int
    batch_size: int
    remove_query: bool = False

    def fused(self, topics: Topics, stop: StopRequest) -> Iterator[RunTable]:
        """The fused run, in tables to be written one after the other.

        It is what `tasb fuse` makes of one run file for each retriever, with the topics in this order: the scores
        fused are those that stand in these files. Queries for which the first retriever finds nothing come last.

        Args:
            topics: the queries.
            stop: asked to, it ends after a block, with KeyboardInterrupt.

        Raises:
            TasbError: retrievers of different collections, or what a retriever or the fusion raises.
        """
        late: list[list[RunTable]] = [[] for _ in self.retrievers]
        same_collection = False
        with (
            tqdm(total=len(topics), desc="searching", unit=" queries") as progress,
            ThreadPoolExecutor(1) as beside,
            contextlib.closing(self._searched(topics, beside)) as searched,
        ):
            for block, runs in searched:
                if stop.made:
                    raise KeyboardInterrupt
                same_collection = same_collection or require_one_collection(self.retrievers, runs)
                for first, qids in _by_first_found(runs, block).items():
                    tables = fuse_tables(_tables(runs, qids, self.retrievers), self.fusion)
                    if first == 0:
                        yield from tables
                    else:
                        late[first] += tables
                progress.update(len(block))
        for tables_of_first in late:
            yield from tables_of_first

    def _searched(
        self, topics: Topics, beside: ThreadPoolExecutor
    ) -> Generator[tuple[Topics, list[RunDict]], None, None]:
        """Blocks with all retrievers' runs. Java and Faiss let go of Python's lock: both threads work at once."""
        ahead: collections.deque[tuple[Topics, Future[dict[int, RunDict]]]] = collections.deque()
        remaining = _blocks(topics, self.batch_size)
        try:
            while True:
                for block in itertools.islice(remaining, BLOCKS_AHEAD - len(ahead)):
                    ahead.append((block, beside.submit(self._search, block, dense=False)))
                if not ahead:
                    return
                block, others = ahead.popleft()
                found = self._search(block, dense=True) | others.result()
                yield block, [found[place] for place in range(len(self.retrievers))]
        finally:
            for _, others in ahead:
                others.cancel()

    def _search(self, block: Topics, *, dense: bool) -> dict[int, RunDict]:
        return {
            place: self._hits(retriever, block)
            for place, (retriever, is_dense) in enumerate(zip(self.retrievers, self.dense, strict=True))
            if is_dense == dense
        }

    def _hits(self, retriever: Retriever, block: Topics) -> RunDict:
        if not self.remove_query:
            return retriever.search(block, self.hits, self.threads)
        # One hit more, so that `hits` are left without the query's own document.
        found = without_own_documents(retriever.search(block, self.hits + 1, self.threads))
        return {qid: dict(itertools.islice(ranking.items(), self.hits)) for qid, ranking in found.items()}


def _blocks(topics: Topics, size: int) -> Iterator[Topics]:
    remaining = iter(topics.items())
    while block := dict(itertools.islice(remaining, size)):
        yield block


def _by_first_found(runs: Sequence[RunDict], block: Topics) -> dict[int, list[str]]:
    """Queries by the first run that has hits for them, as which a file would name them first."""
    by_first: dict[int, list[str]] = {}
    for qid in block:
        first = next((place for place, run in enumerate(runs) if run[qid]), None)
        if first is not None:
            by_first.setdefault(first, []).append(qid)
    return by_first


def _tables(runs: Sequence[RunDict], qids: Sequence[str], retrievers: Sequence[Retriever]) -> list[RunTable]:
    return [
        RunTable.from_run({qid: run[qid] for qid in qids}, name=retriever.name)
        for run, retriever in zip(runs, retrievers, strict=True)
    ]
