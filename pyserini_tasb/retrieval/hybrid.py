"""Hybrid search: search all inputs of a recipe and fuse their hits, as `pyserini.search.hybrid` does for two."""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.named import as_topics
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_files import write_run
from pyserini_tasb.formats.run_table import RunTable, concatenated, without_own_documents
from pyserini_tasb.fusion.fuse import fuse_tables, note_weights, overrides
from pyserini_tasb.fusion.methods import Fusion
from pyserini_tasb.indexes.build import use_threads
from pyserini_tasb.indexes.opening import DenseSearch, SearchWith
from pyserini_tasb.outputs import optional_file
from pyserini_tasb.recipes.lookup import fusion_recipe
from pyserini_tasb.retrieval.retrievers import DENSE, SPARSE, open_retriever
from pyserini_tasb.workers import StopRequest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from typing import Literal

    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.indexes.torch_search import SearchPrecision
    from pyserini_tasb.recipes.types import Backend, FusionRecipe
    from pyserini_tasb.results import StrPath
    from pyserini_tasb.retrieval.retrievers import Retriever


LOG = logging.getLogger(__name__)


def hybrid(
    recipe: StrPath,
    *,
    topics: AnyTopics,
    dense_index: StrPath | Sequence[StrPath] = (),
    sparse_index: StrPath | Sequence[StrPath] = (),
    encoder: str | Sequence[str] = (),
    output: StrPath | None = None,
    output_format: Literal["trec", "msmarco"] = "trec",
    overwrite: bool = False,
    hits: int | None = None,
    remove_query: bool = False,
    batch_size: int = 64,
    tag: str | None = None,
    device: str = "cpu",
    set: str | Sequence[str] | Mapping[str, Any] = (),  # noqa: A002 - the option's name
    allow_other_encoder: bool = False,
    backend: Backend | None = None,
    search_with: SearchWith = "auto",
    search_precision: SearchPrecision = "fp32",
    threads: int | None = None,
) -> HybridRun:
    """Search every index of a fusion recipe and fuse their results.

    The run has the same bytes as `fuse` makes from one run file for each input: see docs/hybrid.md.

    Args:
        recipe: a fusion recipe's name (`tasb+bm25`) or path (`….yaml`).
        topics: a name (`dl19-passage`), a TSV or JSONL file, or qid → text.
        dense_index: a Faiss folder, a vector folder or a Lucene index of vectors for each dense input; by default the
            recipe's.
        sparse_index: a Lucene index for each other input, in the recipe's order; by default the recipe's.
        encoder: a query encoder for each dense input; by default the recipe's.
        output: a new file for the run, gzip if named `….gz`; `-` is standard output. By default no file is written.
        output_format: the format of `output`.
        overwrite: replace a file at `output`, once the new one is complete.
        hits: the number of documents from each index; by default the recipe's depth.
        remove_query: drop each query's own document, whose docid is the query's id, from each index's hits.
        batch_size: the number of queries that are searched and fused together.
        tag: the run's name, in the last column of TREC's format; by default the recipe's name.
        device: the device of the encoders and of torch's search, `cpu` or `cuda:0`. With `cuda`, torch searches on all
            GPUs.
        set: values that replace the recipe's, as `key=value`, e.g. `["method=rrf"]`, or key → value.
        allow_other_encoder: search even if an index does not list the encoder; scores may be meaningless.
        backend: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the encoder card's.
        search_with: what searches vectors outside Lucene: `auto`, `faiss` or `torch`; see `search`.
        search_precision: torch's number format: `fp32`, `bf16` or `fp16`; see `search`.
        threads: the number of threads of Faiss or torch, and of Lucene beside it; by default $OMP_NUM_THREADS, or else
            the cores that this process may use.

    Returns:
        the fused run.

    Raises:
        TasbError: the recipe names no index for an input, an index does not exist or is of another kind, dimension or
            collection, the topics are faulty, or the run cannot be written. The old file at the output remains.
        KeyboardInterrupt: the user stopped the search. The old file at the output remains, too.
    """
    given = {"dense_index": _each(dense_index), "sparse_index": _each(sparse_index), "encoder": _each(encoder)}
    changes = overrides(set)
    chosen = with_given(fusion_recipe(fspath(recipe), changes), given)
    fusion = Fusion.from_recipe(chosen)
    with optional_file(output, overwrite=overwrite, inputs=[topics, recipe]) as file:
        queries = as_topics(topics)
        depth = hits or chosen.depth
        # The recipe's own depth is nobody's choice here, and no reason for a note.
        chose_depth = hits is not None or any(change.partition("=")[0] == "depth" for change in changes)
        note_weights(chosen, depth if chose_depth else None, removed=remove_query)
        how = DenseSearch(search_with, device, search_precision, threads=threads)
        threads = use_threads(threads)
        search = HybridSearch(
            [
                open_retriever(
                    source, queries, device, backend=backend, how=how, allow_other_encoder=allow_other_encoder
                )
                for source in chosen.inputs
            ],
            [source.kind in DENSE for source in chosen.inputs],
            fusion,
            depth,
            threads,
            batch_size,
            remove_query=remove_query,
        )
        tag = tag or chosen.name
        tables: list[RunTable] = []
        # A JVM takes Ctrl-C for itself, and ends the process where it stands; from here on Python is asked again.
        with StopRequest() as stop:
            fused = _noted(search.fused(queries, stop), tables)
            if file is None:
                collections.deque(fused, maxlen=0)
            else:
                write_run(file, fused, tag, output_format=output_format)
    for retriever in search.retrievers:
        if warning := retriever.warning:
            LOG.warning("%s: %s", retriever.name, warning)
    names = tuple(retriever.name for retriever in search.retrievers)
    return HybridRun(concatenated(tables), name=tag, topics=len(queries), searched=names)


class HybridRun(Run):
    """A fused run of `hybrid`.

    Args:
        topics: the number of queries. Queries without a hit are not in the run.
        searched: each input's kind and index.
        others: the arguments of `Run`.
    """

    def __init__(self, *others: Any, topics: int, searched: tuple[str, ...], **names: Any) -> None:
        super().__init__(*others, **names)
        self.topics, self.searched = topics, searched

    @property
    def summary(self) -> str:
        """One line on the searched indexes and the hits."""
        return f"{self.topics} queries, {self.hits:,} hits of {', '.join(self.searched)}"


def _each(given: StrPath | Sequence[StrPath]) -> list[str]:
    return [fspath(one) for one in ([given] if isinstance(given, str | PathLike) else given)]


def _noted(tables: Iterable[RunTable], kept: list[RunTable]) -> Iterator[RunTable]:
    """The tables, each also appended to `kept`."""
    for table in tables:
        kept.append(table)
        yield table


# What an argument sets, and of which inputs.
_SETS = {"dense_index": (DENSE, "index"), "sparse_index": (SPARSE, "index"), "encoder": (DENSE, "encoder")}


def with_given(recipe: FusionRecipe, given: Mapping[str, Sequence[str]]) -> FusionRecipe:
    """The recipe with what was given put in the place of what it says.

    Args:
        recipe: what is to be searched and fused.
        given: `dense_index`, `sparse_index` and `encoder`, each with one value for each of its inputs, in the recipe's
            order; none leaves the recipe's own.

    Raises:
        TasbError: an input that is a run, not something to search; more or fewer given than there are inputs; or an
            input for which neither the recipe nor anybody else names an index.
    """
    if any(each.kind not in DENSE + SPARSE for each in recipe.inputs):
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected=f"inputs with an index to search: {', '.join(DENSE + SPARSE)}",
            found=", ".join(each.kind for each in recipe.inputs),
            do=f"fuse runs with `tasb fuse`, or name another recipe; `{argument('set', 'method=…')}` gives it this "
            "one's method",
        )
    for name, values in given.items():
        recipe = _with(recipe, name, values)
    without = [each for each in recipe.inputs if each.index is None]
    if without:
        wanted = sorted({"dense_index" if each.kind in DENSE else "sparse_index" for each in without})
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected="an index for each input",
            found=f"none for {', '.join(each.kind for each in without)}",
            do=f"give {' and '.join(f'{argument(name)}' for name in wanted)}, or the recipe's inputs an `index`",
        )
    return recipe


def _with(recipe: FusionRecipe, name: str, given: Sequence[str]) -> FusionRecipe:
    if not given:
        return recipe
    kinds, field = _SETS[name]
    places = [place for place, each in enumerate(recipe.inputs) if each.kind in kinds]
    if len(given) != len(places):
        wanted = ", ".join(recipe.inputs[place].kind for place in places)
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected=f"{argument(name)} for each of its inputs {wanted}, in this order"
            if places
            else f"no {argument(name)}",
            found=f"{len(given)}: {', '.join(given)}",
            do=f"give {len(places) or 'none'}",
        )
    inputs = list(recipe.inputs)
    for place, value in zip(places, given, strict=True):
        inputs[place] = inputs[place].model_copy(update={field: value})
    return recipe.model_copy(update={"inputs": tuple(inputs)})


# All queries are encoded with the first block; meanwhile the others need not wait.
BLOCKS_AHEAD = 4


@dataclass(frozen=True)
class HybridSearch:
    """A search of every retriever, fused block of queries by block of queries.

    Attributes:
        retrievers: one for each of the fusion's runs, in its order.
        dense: which of them are dense; these are searched in this thread, beside the others.
        fusion: how their hits are fused.
        hits: documents that each retriever is asked for.
        threads: threads that each retriever may use.
        batch_size: queries of a block; the dictionaries of a few blocks are in memory at a time.
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
        from tqdm.auto import tqdm

        late: list[list[RunTable]] = [[] for _ in self.retrievers]
        same_collection = False
        with (
            tqdm(total=len(topics), desc="searching", unit=" queries") as progress,
            ThreadPoolExecutor(1) as beside,
            contextlib.closing(self._searched(topics, beside)) as searched,
        ):
            for block, runs in searched:
                if stop.made:
                    raise stop.interruption()
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
                found=f"other documents, such as {_examples(others)}",
                do="index the same collection for both, with the same docids",
            )
    return all(found)


def _examples(docids: Iterable[str]) -> str:
    return ", ".join(itertools.islice(docids, 2))
