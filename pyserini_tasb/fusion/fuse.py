"""`fuse`: several runs become one, by a method with its settings or by a recipe."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.named import same_ids_advice
from pyserini_tasb.formats.run import Run, as_run, named_runs
from pyserini_tasb.formats.run_files import written_tables
from pyserini_tasb.formats.run_table import RunTable, concatenated, query_blocks, rank_order
from pyserini_tasb.formats.text_columns import unpack
from pyserini_tasb.fusion.candidates import Candidates, Pool
from pyserini_tasb.fusion.methods import DEPTH, RRF_K, Fusion
from pyserini_tasb.outputs import optional_file
from pyserini_tasb.workers import InOrder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.formats.run_files import RunFormat
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.recipes.types import FusionRecipe
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)


def fuse(
    runs: Iterable[AnyRun] | Mapping[str, AnyRun],
    *,
    recipe: StrPath | None = None,
    method: str | None = None,
    weights: Sequence[float] | None = None,
    normalization: str | None = None,
    missing: str | None = None,
    minimums: Sequence[float] | None = None,
    rrf_k: float | None = None,
    depth: int | None = None,
    hits: int | None = None,
    set: str | Iterable[str] | Mapping[str, Any] = (),  # noqa: A002 - the option's name
    remove_query: bool = False,
    output: StrPath | None = None,
    output_format: RunFormat = "trec",
    overwrite: bool = False,
    tag: str | None = None,
) -> FusedRun:
    """Fuse runs into one. Equal scores are ordered by docid, descending; the same input gives the same bytes.

    Give `recipe`, or `method` with its settings. `set` changes the settings of a recipe.

    Args:
        runs: two runs or more, in the recipe's order: paths, names (`dl19-passage.tasb`), `Run`s, dictionaries or data
            frames; or name → run.
        recipe: a name (`tasb+bm25`), or the path of a YAML file (fusion/README.md).
        method: `linear`, `convex`, `rrf`, `combsum`, … (docs/fusion.md has the equations).
        weights: a weight for each run, instead of the recipe's; by default 1.
        normalization: the normalisation of each list's scores, with `method`: `none`, `min-max`, `z-score`, …
        missing: the score of a document in a run that lacks it: `minimum`, `zero`, `theoretical`, `drop`; by default
            the method's own rule.
        minimums: the lowest score that each run's model can give, for `theoretical` and `theoretical-min`.
        rrf_k: the constant k of `rrf`, by default 60.
        depth: the number of documents to use from each run, by default 1,000.
        hits: the number of documents to keep for each query, by default 1,000.
        set: values that replace the recipe's, as `key=value` or key → value.
        remove_query: drop each query's own document, whose docid is the query's id, before anything else.
        output: a new file for the run, gzip if named `….gz`; `-` is standard output. By default no file is written.
        output_format: the format of `output`, `trec` or `msmarco`.
        overwrite: replace a file at `output`, once the new one is complete.
        tag: the run's name, in the last column of TREC's format; by default the recipe's name.

    Raises:
        TasbError: the arguments contradict each other, a run is faulty, the runs are of different topics or
            collections, or the run cannot be written. The old file at the output remains.
    """
    given = named_runs(runs)
    names = [name for name, _ in given]
    choices = {"normalization": normalization, "missing": missing, "minimums": minimums, "rrf_k": rrf_k}
    choices |= {"depth": depth, "hits": hits}
    if (recipe is None) == (method is None):
        found = "neither" if recipe is None else "both"
        raise TasbError(expected=f"one of {argument('recipe')} and {argument('method')}", found=found, do="give one")
    named = None if recipe is None else _recipe(os.fspath(recipe), overrides(set), choices, names)
    fusion = Fusion.from_recipe(named, weights) if named else _fusion(str(method), weights, overrides(set), choices)
    fusion.require_fits(len(names))
    _require_distinct(names)
    with optional_file(output, overwrite=overwrite, inputs=[recipe, *(run for _, run in given)]) as file:
        loaded = InOrder(lambda pair: as_run(pair[1], name=pair[0], remove_query=remove_query).table, given)
        tables = dict(zip(names, loaded, strict=True))
        _require_hits(tables)
        require_compatible(tables)
        if named and not weights:
            deepest = max(int(table.lengths.max(initial=0)) for table in tables.values())
            note_weights(named, deepest, removed=remove_query)
        tag = tag or (named.name if named else f"tasb.{fusion.method}")
        fused: Iterable[RunTable] = fuse_tables(list(tables.values()), fusion)
        if file is not None:
            fused = written_tables(file, fused, tag, output_format=output_format)
        return FusedRun(concatenated(list(fused)), name=tag, fusion=fusion, inputs=names)


class FusedRun(Run):
    """A run that was fused from others.

    Args:
        table: the run.
        name: the run's name in tables and errors.
        fusion: the settings of the fusion.
        inputs: the names of the runs that were fused.
    """

    def __init__(self, table: RunTable, *, name: str, fusion: Fusion, inputs: Sequence[str]) -> None:
        super().__init__(table, name=name)
        self.fusion, self.inputs = fusion, tuple(inputs)


def score_parts(
    tables: Sequence[RunTable], fusion: Fusion, wanted: Collection[str] | None = None
) -> Iterator[tuple[str, dict[str, tuple[float, ...]]]]:
    """Each query with docid → what each run adds to the document's fused score, for all documents of its runs.

    Args:
        tables: the runs that were fused.
        fusion: how.
        wanted: the queries; None is all.

    Raises:
        TasbError: as `fuse_runs`, or the method is no sum.
    """
    fusion.require_fits(len(tables))
    for block in aligned_blocks(tables, fusion.depth, wanted):
        candidates = Candidates.of(block, fusion)
        pool, parts = candidates.pool, fusion.chosen_method.parts(candidates).tolist()
        docids = [docid.decode() for docid in unpack(pool.docids).tolist()]
        ends = np.cumsum(pool.counts).tolist()
        for qid, count, end in zip(block[0].qids, pool.counts.tolist(), ends, strict=True):
            rows = slice(end - count, end)
            yield qid, dict(zip(docids[rows], map(tuple, parts[rows]), strict=True))


def overrides(given: str | Iterable[str] | Mapping[str, Any]) -> list[str]:
    """`key=value` of each key that is to replace a recipe's."""
    if isinstance(given, Mapping):
        return [f"{key}={value}" for key, value in given.items()]
    return [given] if isinstance(given, str) else list(given)


def _recipe(name: str, changes: Sequence[str], choices: Mapping[str, object], runs: Sequence[str]) -> FusionRecipe:
    from pyserini_tasb.recipes.lookup import fusion_recipe  # brings pydantic, which takes a while

    given = [name for name, value in choices.items() if value is not None]
    if given:
        raise TasbError(
            expected=f"`{argument('set', 'key=value')}` for what the recipe {name} says",
            found=", ".join(f"{argument(name)}" for name in given),
            do=f"e.g. {argument('set', f'{given[0]}=…')}",
        )
    recipe = fusion_recipe(name, changes)
    if len(runs) != len(recipe.inputs):
        wanted = ", ".join(each.encoder or each.kind for each in recipe.inputs)
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected=f"{len(recipe.inputs)} runs, in this order: {wanted}",
            found=f"{len(runs)}: {', '.join(runs)}",
            do="give one run for each input",
        )
    return recipe


def _fusion(method: str, weights: Sequence[float] | None, changes: Sequence[str], choices: Mapping[str, Any]) -> Fusion:
    if changes:
        raise TasbError(
            expected=f"{argument('recipe')} beside {argument('set')}",
            found=f"{argument('method')}",
            do="give each choice its own option",
        )
    return Fusion(
        method=method,
        weights=tuple(weights) if weights else None,
        normalization=choices["normalization"] or "none",
        missing=choices["missing"],
        theoretical_minimums=tuple(choices["minimums"]) if choices["minimums"] else None,
        rrf_k=RRF_K if choices["rrf_k"] is None else choices["rrf_k"],
        depth=DEPTH if choices["depth"] is None else choices["depth"],
        hits=DEPTH if choices["hits"] is None else choices["hits"],
    )


def _require_distinct(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TasbError(expected="different runs", found=f"{', '.join(twice)} more than once", do="give each run once")


def _require_hits(tables: Mapping[str, RunTable]) -> None:
    emptied = [name for name, table in tables.items() if not table.qids]  # a file without lines is refused when read
    if emptied:
        option = argument("remove_query", True)
        raise TasbError(
            where=", ".join(emptied),
            expected="documents besides those whose id is their query's",
            found=f"none: {option} drops all",
            do=f"leave out {option} if queries and documents have the same ids only by chance",
        )


def note_weights(recipe: FusionRecipe, depth: int | None, *, removed: bool) -> None:
    """Log a note if a recipe's weights were not tuned for these runs.

    Args:
        recipe: whose weights are used.
        depth: the most hits that a run has for a query, before they are cut to the recipe's depth; None where the
            recipe itself says how many are searched for.
        removed: whether each query's own document was dropped.
    """
    provenance, depth = recipe.provenance, min(depth or 0, recipe.depth)
    if not provenance.tuned:
        LOG.info("the weights of %s are untuned: %s", recipe.name, provenance.source)
    elif provenance.depth is not None and depth > provenance.depth:
        LOG.info(
            "the weights of %s were tuned at depth %d, but these runs have depth %d: use %s, or tune again (`tasb "
            "tune`)",
            *(recipe.name, provenance.depth, depth, argument("set", f"depth={provenance.depth}")),
        )
    if provenance.remove_query and not removed:
        option = argument("remove_query", True)
        LOG.info("the weights of %s were tuned with %s, which is missing here", recipe.name, option)


QUERIES_COMPARED = 100


def require_compatible(tables: Mapping[str, RunTable]) -> None:
    """Refuse runs of different topics or collections; log queries that not all have, and runs that share no document.

    Args:
        tables: name → run. The names appear in errors; the others are compared with the first.

    Raises:
        TasbError: a run has no query in common with the first; or no document, and ids of another kind.
    """
    (first, table), *others = tables.items()
    for name, other in others:
        shared = sorted(set(table.qids) & set(other.qids))
        if not shared:
            raise TasbError(
                where=name,
                expected=f"queries of {first}: {examples(table.qids)}",
                found=f"none of them; it has {examples(other.qids)}",
                do=same_ids_advice(table.qids, other.qids, "give runs of the same topics"),
            )
        for one, count in ((first, len(table.qids)), (name, len(other.qids))):
            if count > len(shared):
                absent = count - len(shared)
                LOG.info("%d of %d queries of %s are not in both %s and %s", absent, count, one, first, name)
        if not _share_documents(table, other, shared[:QUERIES_COMPARED]):
            _note_no_overlap(first, name, table, other)


def _share_documents(table: RunTable, other: RunTable, qids: Sequence[str]) -> bool:
    parts = []
    for one in (table, other):
        numbers = {qid: number for number, qid in enumerate(one.qids)}
        parts.append(one.taken(np.array([numbers[qid] for qid in qids], dtype=np.int64)))
    return bool(Pool.of(parts).present.all(axis=1).any())


def _note_no_overlap(first: str, name: str, table: RunTable, other: RunTable) -> None:
    kinds = [_kind(one) for one in (table, other)]
    shown = [examples([docid.decode() for docid in unpack(one.docids[:3]).tolist()]) for one in (table, other)]
    if kinds[0] != kinds[1]:
        raise TasbError(
            where=name,
            expected=f"docids of the same collection as {first}, which has {kinds[0]}: {shown[0]}",
            found=f"{kinds[1]}: {shown[1]}; no document in common",
            do="search the same collection for both, or make the docids of both alike",
        )
    LOG.info("%s and %s have no document in common (%s against %s): are both of one collection?", first, name, *shown)


def _kind(table: RunTable) -> str:
    docids = unpack(table.docids[:1000]).tolist()
    return "integers" if all(docid.isdigit() for docid in docids) else "names"


def examples(ids: Sequence[str]) -> str:
    """The first ids, for a message."""
    return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")


def fuse_runs(runs: Sequence[RunDict], fusion: Fusion) -> RunDict:
    """Fuse runs in memory.

    Args:
        runs: each qid → docid → score.
        fusion: how.

    Returns:
        The queries of the first run, then those that only later ones have; each as trec_eval ranks it. A query for
        which no document is left is not there.

    Raises:
        TasbError: as `Fusion.require_fits`; an id or a score that is none; a score below its theoretical minimum.
    """
    tables = [RunTable.from_run(run, name=f"run {number}") for number, run in enumerate(runs, 1)]
    return concatenated(list(fuse_tables(tables, fusion))).to_run()


def fuse_tables(tables: Sequence[RunTable], fusion: Fusion) -> InOrder[RunTable]:
    """Fuse runs as columns, block of queries by block of queries; the blocks are written or joined in this order.

    Raises:
        TasbError: as `fuse_runs`.
    """
    fusion.require_fits(len(tables))
    return InOrder(lambda block: _fused(block, fusion), aligned_blocks(tables, fusion.depth))


def aligned_blocks(
    tables: Sequence[RunTable], depth: int | None, wanted: Collection[str] | None = None
) -> Iterator[list[RunTable]]:
    """All runs' rows of some queries at a time, the same queries for each run, cut to a depth.

    Args:
        tables: the runs.
        depth: rows of each query; None is all.
        wanted: the queries; None is all.
    """
    qids = list(dict.fromkeys(qid for table in tables for qid in table.qids))
    if wanted is not None:
        qids = [qid for qid in qids if qid in wanted]
    numbers = [{qid: number for number, qid in enumerate(table.qids)} for table in tables]
    queries = [np.array([known.get(qid, -1) for qid in qids], dtype=np.int64) for known in numbers]
    for first, last in query_blocks(_pooled_lengths(tables, queries, depth)):
        names = tuple(qids[first:last])
        taken = [table.taken(of[first:last], depth) for table, of in zip(tables, queries, strict=True)]
        yield [RunTable(names, table.starts, table.docids, table.scores) for table in taken]


def _pooled_lengths(
    tables: Sequence[RunTable], queries: Sequence[NDArray[np.int64]], depth: int | None
) -> NDArray[np.int64]:
    total = np.zeros(len(queries[0]), dtype=np.int64)
    for table, of in zip(tables, queries, strict=True):
        lengths = np.append(table.lengths, 0)[of]  # -1 is the one appended
        total += lengths if depth is None else np.minimum(lengths, depth)
    return total


def _fused(tables: Sequence[RunTable], fusion: Fusion) -> RunTable:
    candidates = Candidates.of(tables, fusion)
    pool, scores = candidates.pool, fusion.chosen_method.fused(candidates)
    if not np.isfinite(scores).all():
        raise TasbError(expected="finite scores", found="some too large for float64", do="choose smaller weights")
    order = rank_order(pool.queries, scores, None)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(pool.counts) - pool.counts, pool.counts)
    kept = order if fusion.hits is None else order[ranks < fusion.hits]
    counts = np.bincount(pool.queries[kept], minlength=len(tables[0].qids))
    left = np.flatnonzero(counts)
    return RunTable(
        tuple(tables[0].qids[query] for query in left.tolist()),
        np.concatenate([[0], np.cumsum(counts[left])]).astype(np.int64),
        pool.docids.take(kept, axis=0),
        scores.take(kept),
    )
