"""From sources of pairs to a pair store."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.evaluate import load_topics
from pyserini_tasb.texts.collections import open_collection, store_collection
from pyserini_tasb.texts.text_lookup import TextLookup
from pyserini_tasb.texts.text_store import TextStore, fill_text_store
from pyserini_tasb.texts.text_writer import TextStoreWriter
from pyserini_tasb.train.data.mining.false_negatives import NegativeGuard
from pyserini_tasb.train.data.text_pool import TextPool
from pyserini_tasb.train.store.agreement import Agreement
from pyserini_tasb.train.store.pair_builder import PairStoreBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    from numpy.typing import NDArray

    from pyserini_tasb.train.data.row_faults import RowFaults
    from pyserini_tasb.train.data.text_triples import TextTriples
    from pyserini_tasb.train.store.pair_store import Supervision
    from pyserini_tasb.train.store.row_spool import PairRows

    class IdSource(Protocol):
        """Pairs by ids; `IdPairs` and `JudgedRun` are such sources."""

        supervision: Supervision

        @property
        def faults(self) -> list[RowFaults]:
            """Of each file; filled while `rows` is read."""

        def rows(self, queries: TextLookup, passages: TextLookup, guard: NegativeGuard) -> Iterator[PairRows]:
            """The pairs whose negatives `guard` keeps, in chunks."""


def build_from_ids(
    folder: Path,
    source: IdSource,
    *,
    collection: Path,
    queries: str,
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
        collection: what `open_collection` takes.
        queries: a file or folder that `open_collection` takes, or the name of topics.
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
        query_texts = store_queries(_made(builder.scratch / "queries"), queries)
        passage_texts = store_collection(
            _made(builder.scratch / "passages"), open_collection(collection), str(collection)
        )
        lookups = TextLookup(query_texts), TextLookup(passage_texts)
        known_positives, without_text = _indices(known, *lookups)
        guard = NegativeGuard(query_texts, passage_texts, known_positives, keep_query=keep_query)
        for rows in source.rows(*lookups, guard):
            builder.add(rows)
        notes = {
            "recipe": recipe,
            "skipped_rows": sum(faults.count for faults in source.faults),
            "left_out": {
                "judged": guard.judged,
                "query_itself": guard.query_itself,
                "queries": guard.emptied,
                "known": without_text,
            },
        }
        builder.finish(
            query_texts,
            passage_texts,
            known_positives=known_positives,
            notes=notes,
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
        notes = {
            "recipe": recipe,
            "skipped_rows": source.faults.count,
            "left_out": {"judged": 0, "query_itself": source.query_itself, "queries": 0, "known": 0},
        }
        check = partial(Agreement.require, where=str(source.path), allowed=allow_reversed)
        builder.finish(*map(TextStore, folders), notes=notes, check=check)


def store_queries(folder: Path, queries: str) -> TextStore:
    """All queries in a text store, written into an empty folder unless they are in one already.

    Args:
        folder: an empty folder.
        queries: a file or folder that `open_collection` takes, or the name of topics.

    Raises:
        TasbError: nothing by that name or path, or a faulty file.
    """
    path = Path(queries).expanduser()
    if path.exists():
        return store_collection(folder, open_collection(path), queries)
    return fill_text_store(folder, load_topics(queries).items(), queries)


def _indices(
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
