"""A pair store from what people have: scored pairs, triples of texts, or judgments and a run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.artifacts import sha256, values_explained, verify_files
from pyserini_tasb.data.false_negatives import NegativeGuard
from pyserini_tasb.data.pair_builder import PairStoreBuilder
from pyserini_tasb.data.pair_sources import IdPairs, JudgedRun, TextPool, TextTriples, relevant_passages, source_name
from pyserini_tasb.data.pair_store import Agreement, PairStore, Supervision, all_equal, open_pair_store
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import MANIFEST, at_home
from pyserini_tasb.formats.collections import open_collection, store_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.lines import visible_files
from pyserini_tasb.formats.named import as_qrels, as_topics
from pyserini_tasb.formats.run import as_run
from pyserini_tasb.formats.text_store import TextLookup, TextStore, TextStoreWriter, fill_text_store
from pyserini_tasb.outputs import require_new_folder
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Protocol

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_builder import PairRows
    from pyserini_tasb.data.rows import RowFaults
    from pyserini_tasb.formats.named import AnyQrels, AnyTopics
    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.results import StrPath

    class IdSource(Protocol):
        """Pairs by ids; `IdPairs` and `JudgedRun` are such sources."""

        supervision: Supervision

        @property
        def faults(self) -> list[RowFaults]:
            """The faults of each file; filled while `rows` is read."""

        def rows(self, queries: TextLookup, passages: TextLookup, guard: NegativeGuard) -> Iterator[PairRows]:
            """The pairs whose negatives `guard` keeps, in chunks."""


LOG = logging.getLogger(__name__)

EXAMPLES = 3
# What each source of pairs needs beside it, and what it can do without but may have.
NEEDED = {
    "scored_pairs": ("corpus", "topics"),
    "triples": (),
    "qrels": ("negatives", "corpus", "topics"),
}
_ALLOWED_WITH_IDS = ("known_positives", "fields", "docid_field")
ALLOWED = {
    "scored_pairs": _ALLOWED_WITH_IDS,
    "triples": (),
    "qrels": (*_ALLOWED_WITH_IDS, "negatives_per_query"),
}
# The manifests' names for these sources. They stay, so that older stores are recognised.
ROLES = {"corpus": "collection", "topics": "queries"}


@dataclass(frozen=True)
class Pairs(FileResult):
    """A store of training pairs. Wherever a path is taken, it stands for its folder.

    Attributes:
        path: the folder.
        queries: the number of queries with pairs.
        passages: the number of passages that are in pairs or known to be relevant.
        pairs: the number of pairs.
        supervision: what the store has for each pair: the teacher's `scores`, its `margins`, or only `labels`.
        agreement: the teacher's agreement with the labels; None without a teacher.
        built_before: true if the same store existed already, from the same sources with the same options.
        summary: all counts as text.
    """

    queries: int
    passages: int
    pairs: int
    supervision: Supervision
    agreement: Agreement | None
    built_before: bool
    summary: str = field(repr=False)


def pairs(
    scored_pairs: StrPath | Sequence[StrPath] | None = None,
    *,
    triples: StrPath | None = None,
    qrels: AnyQrels | None = None,
    negatives: AnyRun | None = None,
    negatives_per_query: int | None = None,
    corpus: StrPath | None = None,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    topics: AnyTopics | None = None,
    known_positives: AnyQrels | None = None,
    min_relevance: int = 1,
    seed: int = 0,
    skip_bad: bool = False,
    keep_query: bool = False,
    allow_reversed: bool = False,
    output: StrPath,
    overwrite: bool = False,
) -> Pairs:
    """Build a store of training pairs, unless the same store exists already.

    Give exactly one source: `scored_pairs`, `triples` or `qrels`. Negatives that are known to be relevant, or that are
    the query itself, are left out.

    Args:
        scored_pairs: files of `qid TAB pos_pid TAB neg_pid`, as `mine` and `score` write them. A line may begin with
            `pos_score TAB neg_score` or with a margin. They need `corpus` and `topics`.
        triples: a file of `query TAB positive TAB negative` texts. A line may begin with two scores.
        qrels: judgments. Their relevant passages are the positives. They need `negatives`, `corpus` and `topics`.
        negatives: a run. Its documents that `qrels` do not call relevant are the negatives.
        negatives_per_query: the number of negatives to draw uniformly for each query, with `qrels`; by default all.
        corpus: TSV, JSONL, a Lucene index or a text store, with the passages' texts.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        topics: the queries' texts: topics, or anything that `corpus` accepts.
        known_positives: more judgments. A passage that they call relevant for a query never becomes its negative.
        min_relevance: the lowest grade that is relevant.
        seed: the random seed of `negatives_per_query`.
        skip_bad: skip and count faulty lines and ids without a text, instead of stopping.
        keep_query: keep negatives that are the query itself: passages with its text, or with its id and 90 % of its
            words.
        allow_reversed: continue even if the teacher scores most negatives above their positives.
        output: the folder. It must be new or empty, unless `overwrite` is true.
        overwrite: replace a store at `output`, once the new one is complete.

    Raises:
        TasbError: the arguments contradict each other, a source is faulty, or `output` has something else in it.
    """
    folder = Path(output)
    inputs = [scored_pairs, triples, qrels, negatives, corpus, topics, known_positives]
    if not (folder / MANIFEST).is_file():  # a store may be this very one, which only a look at the sources tells
        require_new_folder(folder, overwrite=overwrite, inputs=inputs)
    topics, qrels, known_positives = _read(as_topics, topics), _read(as_qrels, qrels), _read(as_qrels, known_positives)
    negatives = _read(as_run, negatives)
    given = {
        "scored_pairs": scored_pairs,
        "triples": triples,
        "qrels": qrels,
        "negatives": negatives,
        "corpus": corpus,
        "topics": topics,
        "known_positives": known_positives,
        "fields": fields or None,
        "docid_field": docid_field,
    }
    _require_fitting({**given, "negatives_per_query": negatives_per_query})
    start = time.monotonic()
    recipe = {
        "sources": _sources(given),
        "relevant_grade": min_relevance,
        "negatives_per_query": negatives_per_query,
        "seed": seed,
        "skip_bad": skip_bad,
        "keep_query": keep_query,
        "allow_reversed": allow_reversed,
    }
    named = Fields.named(fields, docid_field)
    if named.given:
        recipe["fields"], recipe["docid_field"] = list(named.names), named.docid
    if _is_built(folder, recipe):
        why = "built before, from the same sources with the same options; every sha256 is right"
        return pairs_result(open_pair_store(folder), why, built_before=True)
    require_new_folder(folder, overwrite=overwrite, inputs=inputs)
    if triples is not None:
        source: TextTriples | IdPairs | JudgedRun = TextTriples(Path(triples), skip_bad=skip_bad, keep_query=keep_query)
    elif scored_pairs is not None:
        source = IdPairs([Path(path) for path in _several(scored_pairs)], skip_bad=skip_bad)
    else:
        source = JudgedRun(
            qrels,
            negatives,
            min_relevance=min_relevance,
            negatives_per_query=negatives_per_query,
            seed=seed,
            skip_bad=skip_bad,
        )
    if isinstance(source, TextTriples):
        LOG.info("%s: %s", source.path, " TAB ".join(source.columns))
        build_from_triples(folder, source, recipe=recipe, allow_reversed=allow_reversed, overwrite=overwrite)
    else:
        if isinstance(source, IdPairs):
            LOG.info("%s: %s", source.paths[0], source.format)
        build_from_ids(
            folder,
            source,
            corpus=at_home(corpus or ""),
            fields=named,
            topics=topics,
            known={} if known_positives is None else relevant_passages(known_positives, min_relevance),
            recipe=recipe,
            keep_query=keep_query,
            allow_reversed=allow_reversed,
            overwrite=overwrite,
        )
    if isinstance(source, JudgedRun):
        _note_without_pairs(source)
    store = open_pair_store(folder)
    lines = [
        f"  {'left out':<16} {faults.count} faulty in {faults.path}, e.g."
        + "".join(f"\n    {example}" for example in faults.shown[:EXAMPLES])
        for faults in source.faults
        if faults.count
    ]
    seconds = time.monotonic() - start
    return pairs_result(store, *lines, f"  {'built in':<16} {seconds:.1f} s: {len(store) / seconds:,.0f} pairs/s")


def pairs_result(store: PairStore, *lines: str, built_before: bool = False) -> Pairs:
    """The result that describes a store; `lines` stand below its counts."""
    with values_explained(store.folder):
        counts = _counts(store)
    return Pairs(
        store.folder,
        queries=len(store.queries),
        passages=len(store.passages),
        pairs=len(store),
        supervision=store.supervision,
        agreement=Agreement.of_store(store),
        built_before=built_before,
        summary="\n".join([counts, *lines]),
    )


def _counts(store: PairStore) -> str:
    manifest = store.manifest
    per_query = manifest["pairs_per_query"]
    rows = {
        "queries": f"{manifest['queries']:,}",
        "passages": f"{manifest['passages']:,}",
        "pairs": f"{manifest['pairs']:,} with {store.supervision}",
        "pairs per query": f"min {per_query['min']:,}, median {per_query['median']:,g}, max {per_query['max']:,}",
        "known positives": f"{manifest['known_positives']:,}",
        "skipped rows": f"{manifest['skipped_rows']:,}",
        "repeated rows": f"{manifest['repeated_rows']:,} left out",
        "contradicting": f"{manifest['contradicting_rows']:,} rows repeat a pair with other scores",
    }
    left_out = manifest.get("left_out")
    if left_out:
        rows["known negatives"] = f"{left_out['judged']:,} left out: they are judged positives of their query"
        rows["query itself"] = f"{left_out['query_itself']:,} negatives left out: they are the query itself"
        if left_out["queries"]:
            rows["queries"] += f"; {left_out['queries']:,} more have no negative left"
        if left_out["known"]:
            rows["known positives"] += f"; {left_out['known']:,} more have no text"
    if "margins" in manifest:
        mean, deviation = manifest["margins"]["mean"], manifest["margins"]["deviation"]
        rows["margins"] = f"mean {mean:.4g}, deviation {deviation:.4g}"
        if manifest["pairs"] > 1 and all_equal(mean, deviation):
            rows["margins"] += "; all are equal, so they do not say which negative is harder"
    agreement = Agreement.of_store(store)
    if agreement:
        rows["teacher"] = str(agreement)
        if agreement.warning:
            rows["warning"] = agreement.warning
    return "\n".join([str(store.folder), *(f"  {name:<16} {value}" for name, value in rows.items())])


def _read(read: Callable[[Any], Any], given: Any) -> Any:
    """A source in memory in its plain form; names and paths stay, and are read when it is their turn."""
    return given if given is None or isinstance(given, str | os.PathLike) else read(given)


def _require_fitting(given: Mapping[str, Any]) -> None:
    sources = [source for source in NEEDED if given[source] is not None]
    if len(sources) != 1:
        raise TasbError(
            expected="one source of pairs: " + _mentioned(NEEDED),
            found=_mentioned(sources) or "none",
            do="give exactly one of them",
        )
    source = sources[0]
    missing = [name for name in NEEDED[source] if given[name] is None]
    others = {name for names in (*NEEDED.values(), *ALLOWED.values()) for name in names}
    stray = [name for name in others - {*NEEDED[source], *ALLOWED[source]} if given[name] is not None]
    if missing or stray:
        needed = " and ".join(f"{argument(name)}" for name in NEEDED[source])
        lacks = [f"no {argument(name)}" for name in missing]
        raise TasbError(
            expected=f"{argument(source)} with {needed or 'nothing else'}",
            found=", ".join([*lacks, *(f"{argument(name)}" for name in sorted(stray))]),
            do="add or remove these options",
        )
    drawn = given["negatives_per_query"]
    if drawn is not None and drawn < 1:
        raise TasbError(
            expected=f"{argument('negatives_per_query')} at least 1",
            found=str(drawn),
            do="leave it out to take all",
        )


def _mentioned(names: Iterable[str]) -> str:
    return ", ".join(f"{argument(name)}" for name in names)


def _several(paths: StrPath | Sequence[StrPath]) -> Sequence[StrPath]:
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def _note_without_pairs(source: JudgedRun) -> None:
    if source.unpaired:
        LOG.info(
            "%s queries of the run give no pair, because none or all of their documents are relevant", source.unpaired
        )
    for qids, what in (
        (source.not_in_run, "are not in the run"),
        (source.without_negatives, "have no negative in the run"),
    ):
        if qids:
            shown = ", ".join(qids[:EXAMPLES]) + (", …" if len(qids) > EXAMPLES else "")
            LOG.info("%s judged queries %s: %s", f"{len(qids):,}", what, shown)


def _sources(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    source = next(name for name in NEEDED if given[name] is not None)
    return [
        describe_source(ROLES.get(role, role), each)
        for role in (source, *NEEDED[source], "known_positives")
        if given[role] is not None
        for each in (_several(given[role]) if role == "scored_pairs" else [given[role]])
    ]


def describe_source(role: str, given: Any) -> dict[str, Any]:
    """Size and sha256 of a source.

    Args:
        role: what it was used as, e.g. `collection`.
        given: the path of a file or folder, a name that Pyserini knows, or a mapping that is in memory.

    Returns:
        The role, the name, and for files `bytes` and `sha256`; a folder's is that of its files' checksums and names.
        What is in memory has `sha256` only; a name has neither.
    """
    if not isinstance(given, str | os.PathLike):
        digest = hashlib.sha256()
        for item in given.items():
            digest.update(json.dumps(item).encode())
        return {"role": role, "name": source_name(given), "sha256": digest.hexdigest()}
    name = os.fspath(given)
    path = at_home(name)
    description: dict[str, Any] = {"role": role, "name": name}
    if path.is_file():
        description |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    elif path.is_dir():
        files = visible_files(path)
        listing = "".join(f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
        size = sum(file.stat().st_size for file in files)
        description |= {"bytes": size, "sha256": hashlib.sha256(listing.encode()).hexdigest()}
    return description


def _is_built(folder: Path, recipe: dict[str, Any]) -> bool:
    if not (folder / MANIFEST).is_file():
        return False
    try:
        store = open_pair_store(folder)
        if _content(store.manifest.get("recipe", {})) != _content(recipe):
            return False
        verify_files(folder)
    except TasbError:
        return False
    return True


def _content(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the paths: the same files elsewhere are the same sources."""
    sources = [
        {key: value for key, value in source.items() if key != "name" or "sha256" not in source}
        for source in recipe.get("sources", [])
    ]
    return {**recipe, "sources": sources}


def build_from_ids(
    folder: Path,
    source: IdSource,
    *,
    corpus: Path,
    fields: Fields = Fields(),  # noqa: B008 - immutable
    topics: AnyTopics,
    known: Mapping[str, Mapping[str, int]],
    recipe: Mapping[str, Any],
    keep_query: bool = False,
    allow_reversed: bool = False,
    overwrite: bool = False,
) -> None:
    """Build a pair store of pairs by ids. Negatives that are known relevant, or are the query itself, are left out.

    Args:
        folder: absent or empty, unless `overwrite`.
        source: the pairs.
        corpus: what `open_collection` takes.
        fields: the fields of a passage's docid and text.
        topics: see `store_queries`.
        known: qid → docids known relevant beyond the pairs; those without a text are left out.
        recipe: what the manifest says of the sources.
        keep_query: keep negatives that are the query itself.
        allow_reversed: build also from a teacher that contradicts most labels.
        overwrite: replace a store in `folder`, once the new one is complete.

    Raises:
        TasbError: a source is faulty, a pair has no text, the teacher contradicts most labels, or `folder` is in the
            way.
    """
    with PairStoreBuilder(folder, source.supervision, overwrite=overwrite) as builder:
        query_texts = store_queries(_made(builder.scratch / "queries"), topics)
        passage_texts = store_collection(
            _made(builder.scratch / "passages"), open_collection(corpus, fields), str(corpus)
        )
        lookups = TextLookup(query_texts), TextLookup(passage_texts)
        known_positives, without_text = _known_rows(known, *lookups)
        guard = NegativeGuard(query_texts, passage_texts, known_positives, keep_query=keep_query)
        for rows in source.rows(*lookups, guard):
            builder.add(rows)
        left_out = {
            "judged": guard.judged,
            "query_itself": guard.query_itself,
            "queries": guard.emptied,
            "known": without_text,
        }
        skipped = sum(faults.count for faults in source.faults)
        builder.finish(
            query_texts,
            passage_texts,
            known_positives=known_positives,
            notes={"recipe": recipe, "skipped_rows": skipped, "left_out": left_out},
            check=partial(Agreement.require, where=str(source.faults[0].path), allowed=allow_reversed),
        )


def build_from_triples(
    folder: Path,
    source: TextTriples,
    *,
    recipe: Mapping[str, Any],
    allow_reversed: bool = False,
    overwrite: bool = False,
) -> None:
    """Build a pair store of text triples; texts get ids made of their content.

    Args:
        folder: absent or empty, unless `overwrite`.
        source: the triples.
        recipe: what the manifest says of the sources.
        allow_reversed: build also from a teacher that contradicts most labels.
        overwrite: replace a store in `folder`, once the new one is complete.

    Raises:
        TasbError: the source is faulty, the teacher contradicts most labels, or `folder` is in the way.
    """
    with PairStoreBuilder(folder, source.supervision, overwrite=overwrite) as builder:
        folders = [_made(builder.scratch / name) for name in ("queries", "passages")]
        with (
            TextStoreWriter(folders[0], str(source.path)) as queries,
            TextStoreWriter(folders[1], str(source.path)) as passages,
        ):
            for rows in source.rows(TextPool(queries), TextPool(passages)):
                builder.add(rows)
        left_out = {"judged": 0, "query_itself": source.query_itself, "queries": 0, "known": 0}
        builder.finish(
            *map(TextStore, folders),
            notes={"recipe": recipe, "skipped_rows": source.faults[0].count, "left_out": left_out},
            check=partial(Agreement.require, where=str(source.path), allowed=allow_reversed),
        )


def store_queries(folder: Path, topics: AnyTopics) -> TextStore:
    """All queries in a text store, written into an empty folder unless they are in one already.

    Args:
        folder: an empty folder.
        topics: the path of whatever `open_collection` takes, the name of topics, or topics in memory.

    Raises:
        TasbError: nothing by that name or path, or a faulty file.
    """
    name = "topics"
    if isinstance(topics, str | os.PathLike):
        name = os.fspath(topics)
        path = at_home(name)
        if (path / "queries.jsonl").exists():
            raise TasbError(
                where=str(path),
                expected="only the queries",
                found="a folder in BEIR's layout, whose passages would be read",
                do=f"give {path / 'queries.jsonl'}",
            )
        if path.exists():
            return store_collection(folder, open_collection(path), name)
    return fill_text_store(folder, as_topics(topics).items(), name)


def _known_rows(
    known: Mapping[str, Mapping[str, int]], queries: TextLookup, passages: TextLookup
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], int]:
    """Indices of the queries and passages known relevant; and how many have a text for the query, but no passage's."""
    of_query = np.repeat(queries.indices(list(known)), [len(docids) for docids in known.values()])
    of_passage = passages.indices([docid for docids in known.values() for docid in docids])
    with_text = (of_query >= 0) & (of_passage >= 0)
    return (of_query[with_text], of_passage[with_text]), int(((of_query >= 0) & (of_passage < 0)).sum())


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
