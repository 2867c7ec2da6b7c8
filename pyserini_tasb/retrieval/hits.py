"""`show`: the hits of runs with their texts, in a terminal, in a notebook or as a page."""

from __future__ import annotations

import difflib
import itertools
import logging
import math
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.evaluation.measures import evaluate_run, parse_measures, relevance_grade
from pyserini_tasb.evaluation.overlap import rank_biased_overlap
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.named import as_qrels, as_topics, same_ids_advice
from pyserini_tasb.formats.passages import read_passages, require_texts, require_topics
from pyserini_tasb.formats.run import Run, as_run, named_runs
from pyserini_tasb.fusion.fuse import FusedRun, fuse, overrides, score_parts
from pyserini_tasb.outputs import optional_file
from pyserini_tasb.retrieval.hits_page import as_page
from pyserini_tasb.retrieval.hits_with_text import Hit, HitsWithText, QueryHits, RunHits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ir_measures import Measure

    from pyserini_tasb.formats.named import AnyQrels, AnyTopics
    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.formats.topics import Topics
    from pyserini_tasb.fusion.methods import Fusion
    from pyserini_tasb.results import StrPath

    Parts: TypeAlias = dict[str, dict[str, dict[str, tuple[float, ...]]]]
    """Fused run → query → document → each input's part of its score."""


LOG = logging.getLogger(__name__)

EXAMPLES = 3  # of queries, in an error
HITS, HITS_OF_PAGE = 10, 100
RBO_DEPTH = 100  # what is below has 0.003 % of the weight
BYTES_OF_HIT = 300  # of a page; more if few documents are of several runs, or if they are longer than MS MARCO's
NOTED_BYTES, LARGEST_BYTES = 5_000_000, 100_000_000


def show(
    runs: AnyRun | Iterable[AnyRun] | Mapping[str, AnyRun],
    *,
    corpus: StrPath,
    topic: str | int | Sequence[str | int] | None = None,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    hits: int | None = None,
    topics: AnyTopics | None = None,
    qrels: AnyQrels | None = None,
    measure: str = "nDCG@10",
    recipe: StrPath | None = None,
    set: str | Iterable[str] | Mapping[str, Any] = (),  # noqa: A002 - the option's name
    html: StrPath | None = None,
    overwrite: bool = False,
) -> HitsWithText:
    """Show the hits of queries with their texts; with `html`, as a page with the runs side by side.

    A run of `fuse` is shown with each input's part of the scores, if the inputs are among `runs`.

    Args:
        runs: one run or several: paths, names, `Run`s, qid → docid → score, or data frames; or name → run.
        corpus: the passages: TSV, JSONL, a Lucene index that stores texts, or a text store. Lucene indexes and text
            stores are read by docid, the others completely.
        topic: the id of a query, or several ids; by default a page has all queries.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        hits: the number of documents to show for each query, the best first; by default 10, and 100 in a page.
        topics: a name, a TSV or JSONL file, or qid → text, to show the queries' texts.
        qrels: a name, a file, or qid → docid → grade, to show each document's grade.
        measure: the measure that compares queries, with `qrels`.
        recipe: a fusion recipe for the first runs. The fused run is shown before them.
        set: values that replace the recipe's, as `key=value` or key → value.
        html: a new file for the page.
        overwrite: replace a file at `html`, once the new one is complete.

    Returns:
        the queries with their hits.

    Raises:
        TasbError: a query is in no run or has no topic, a name or path does not exist, a file is faulty, the corpus has
            none of the documents, the fusion is no sum, or the page would be too large.

    Example:
        show(["tasb.txt", "bm25.txt"], corpus="collection.tsv", qrels="dl19-passage", html="hits.html")
    """
    if topic is None and html is None:
        raise TasbError(
            expected=f"{argument('topic')}, or {argument('html')} for all of them",
            found="neither",
            do=f"e.g. {argument('html', 'hits.html')}",
        )
    given = named_runs(runs)
    inputs = [*(run for _, run in given), corpus, topics, qrels, recipe]
    with optional_file(html, overwrite=overwrite, inputs=inputs, name="html") as page:
        found, fused = _with_fused(_loaded(given), recipe, overrides(set))
        queries = None if topics is None else as_topics(topics)
        qids = _chosen(topic, found, queries, fspath(topics) if isinstance(topics, str | PathLike) else None)
        depth = hits or (HITS if page is None else HITS_OF_PAGE)
        if page is not None:
            _require_size(found, qids, depth)
        grades = None if qrels is None else as_qrels(qrels)
        measured = parse_measures([measure])
        values = {} if grades is None else _values(found, qids, grades, measured)
        parts = {} if fused is None else fused.parts(found, qids, depth)
        docids = _docids(found, qids, depth)
        passages = read_passages(Path(corpus), docids, Fields.named(fields, docid_field))
        if not passages:
            require_texts(docids, passages, where=fspath(corpus))
        of_queries = [
            QueryHits(
                qid,
                queries[qid] if queries else None,
                _of_runs(qid, found, depth, passages=passages, grades=grades or {}, values=values, parts=parts),
                _overlaps([run.get(qid, {}) for run in found.values()]),
            )
            for qid in qids
        ]
        shown = HitsWithText(
            tuple(found),
            tuple(of_queries),
            judged=grades is not None,
            measure=str(measured[0]) if values else None,
            relevant=1 if grades is None else relevance_grade(measured, grades.name),
            inputs=() if fused is None else fused.inputs,
        )
        if page is not None:
            page.write(as_page(shown))
    return shown


def _loaded(given: Sequence[tuple[str, AnyRun]]) -> dict[str, Run]:
    names = [name for name, _ in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TasbError(expected="different runs", found=f"{', '.join(twice)} more than once", do="give each run once")
    loaded = [as_run(run, name=None if name == "run 1" else name) for name, run in given]
    if names == ["run 1"]:  # the only one needs no number
        names = [loaded[0].name]
    return dict(zip(names, loaded, strict=True))


def _with_fused(
    found: dict[str, Run], recipe: StrPath | None, changes: Sequence[str]
) -> tuple[dict[str, Run], _Fused | None]:
    """The runs, the fused one first if there is a recipe; and which of them are its inputs."""
    if recipe is None:
        if changes:
            raise TasbError(
                expected=f"{argument('recipe')} beside {argument('set')}",
                found="none",
                do="name the recipe whose values change",
            )
        return found, _fused_before(found)
    from pyserini_tasb.recipes.lookup import fusion_recipe  # brings pydantic, which takes a while

    of_recipe = fusion_recipe(fspath(recipe), changes)
    inputs = dict(itertools.islice(found.items(), len(of_recipe.inputs)))
    run = fuse(inputs, recipe=recipe, set=changes)
    run.fusion.chosen_method.require_sum(run.fusion.method)
    name = run.name if run.name not in found else f"{run.name} (fused)"
    return {name: run, **found}, _Fused(name, tuple(inputs), run.fusion)


def _fused_before(found: Mapping[str, Run]) -> _Fused | None:
    """The first run that `fuse` returned, if the runs that it was made of are here, too."""
    for name, run in found.items():
        if isinstance(run, FusedRun) and run.fusion.chosen_method.is_sum and {*run.inputs} <= found.keys() - {name}:
            return _Fused(name, run.inputs, run.fusion)
    return None


@dataclass(frozen=True)
class _Fused:
    """A run that was fused: its name, the names of its inputs, and how."""

    name: str
    inputs: tuple[str, ...]
    fusion: Fusion

    def parts(self, found: Mapping[str, Run], qids: Sequence[str], depth: int) -> Parts:
        """The parts of the scores of the run's first documents; nothing if the inputs make other scores."""
        run, parts = found[self.name], {}
        for qid, of_query in score_parts([found[name].table for name in self.inputs], self.fusion, {*qids}):
            ranking = dict(itertools.islice(run.get(qid, {}).items(), depth))
            parts[qid] = {docid: of_query.get(docid, ()) for docid in ranking}
            if not all(math.isclose(sum(parts[qid][docid]), score, rel_tol=1e-6) for docid, score in ranking.items()):
                LOG.info("%s has scores that do not follow from its inputs, so their parts are not shown", self.name)
                return {}
        return {self.name: parts}


def _chosen(
    topic: str | int | Sequence[str | int] | None, found: Mapping[str, Run], queries: Topics | None, where: str | None
) -> list[str]:
    """The ids of the queries to show."""
    if topic is not None:
        qids = [str(topic)] if isinstance(topic, str | int) else list(map(str, topic))
        _require_queries(qids, found)
        if queries is not None:
            require_topics(qids, queries, where=where)
        return list(dict.fromkeys(qids))
    of_runs = dict.fromkeys(qid for run in found.values() for qid in run)
    if queries is None:
        return list(of_runs)
    if queries.keys().isdisjoint(of_runs):
        require_topics(of_runs, queries, where=where)
    if without := [qid for qid in of_runs if qid not in queries]:
        LOG.info("%d queries of the runs have no topic, and are not in the page: %s, …", len(without), without[0])
    return list(queries)


def _require_queries(qids: Sequence[str], found: Mapping[str, Run]) -> None:
    known = dict.fromkeys(qid for run in found.values() for qid in run)
    for qid in qids:
        if qid not in known:
            close = difflib.get_close_matches(qid, known, n=1)
            raise TasbError(
                where=", ".join(found),
                expected=f"{argument('topic')} of the run{'s' * (len(found) > 1)}: "
                f"{', '.join(itertools.islice(known, EXAMPLES))}, …",
                found=f"`{qid}`",
                do=f"did you mean `{close[0]}`?"
                if close
                else same_ids_advice([qid], known, "check that the run and the topic belong together"),
            )


def _require_size(found: Mapping[str, Run], qids: Sequence[str], depth: int) -> None:
    """Say how large the page may become, and refuse one that a browser could not open."""
    wanted = {*qids}
    hits = 0
    for table in (run.table for run in found.values()):
        hits += sum(
            min(length, depth) for qid, length in zip(table.qids, table.lengths.tolist(), strict=True) if qid in wanted
        )
    expected = hits * BYTES_OF_HIT
    runs = f"{len(found)} run{'s' * (len(found) > 1)}"
    about = f"{len(qids):,} topics, {hits:,} hits of {runs}: about {expected / 1e6:,.0f} MB"
    if expected > LARGEST_BYTES:
        fitting = LARGEST_BYTES // (BYTES_OF_HIT * len(found) * len(qids))
        fewer = f"{argument('hits', fitting)} shows fewer hits for each topic, " if fitting else ""
        raise TasbError(
            expected=f"a page of at most {LARGEST_BYTES // 1_000_000} MB, which a browser can open",
            found=about,
            do=f"{fewer}{argument('topic')} shows some of the topics",
        )
    if expected > NOTED_BYTES:
        LOG.info("%s", about)


def _docids(found: Mapping[str, Run], qids: Sequence[str], depth: int) -> dict[str, None]:
    rankings = (run[qid] for qid in qids for run in found.values() if qid in run)
    return dict.fromkeys(docid for ranking in rankings for docid in itertools.islice(ranking, depth))


def _values(
    found: Mapping[str, Run], qids: Sequence[str], grades: QrelsDict, measures: Sequence[Measure]
) -> dict[str, dict[str, float]]:
    """Run → judged query → value; a query that the run lacks counts as 0, as under `trec_eval -c`."""
    judged = {qid: grades[qid] for qid in qids if qid in grades}
    values: dict[str, dict[str, float]] = {}
    for name, run in found.items() if judged else ():
        ranked = {qid: run[qid] for qid in judged if qid in run}
        values[name] = dict.fromkeys(judged, 0.0)
        if ranked:
            evaluation = evaluate_run(ranked, judged, measures, name=name)
            (of_queries,) = evaluation.per_query.values()
            values[name] = dict(zip(evaluation.queries, of_queries.tolist(), strict=True))
    return values


def _of_runs(
    qid: str,
    found: Mapping[str, Run],
    depth: int,
    *,
    passages: Mapping[str, str],
    grades: QrelsDict,
    values: Mapping[str, Mapping[str, float]],
    parts: Parts,
) -> tuple[RunHits, ...]:
    """The hits of a query, run by run."""
    rankings = {name: run.get(qid, {}) for name, run in found.items()}
    ranks = [{docid: rank for rank, docid in enumerate(ranking, 1)} for ranking in rankings.values()]
    judged = grades.get(qid, {})

    def hit(name: str, rank: int, docid: str, score: float) -> Hit:
        return Hit(
            *(rank, docid, score, passages.get(docid), judged.get(docid)),
            ranks=tuple(each.get(docid) for each in ranks),
            parts=parts.get(name, {}).get(qid, {}).get(docid, ()),
        )

    return tuple(
        RunHits(
            name,
            tuple(hit(name, rank, *each) for rank, each in enumerate(itertools.islice(ranking.items(), depth), 1)),
            len(ranking),
            values.get(name, {}).get(qid),
        )
        for name, ranking in rankings.items()
    )


def _overlaps(rankings: Sequence[Mapping[str, float]]) -> tuple[float, ...]:
    """The rank-biased overlap of every two lists: first and second, first and third, …"""
    tops = [list(itertools.islice(ranking, RBO_DEPTH)) for ranking in rankings]
    return tuple(rank_biased_overlap(one, other) for one, other in itertools.combinations(tops, 2))
