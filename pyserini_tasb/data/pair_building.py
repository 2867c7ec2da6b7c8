"""From sources of pairs to a pair store; distinct texts are stored once."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.data.false_negatives import NegativeGuard
from pyserini_tasb.data.pair_builder import PairStoreBuilder
from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.formats.collections import open_collection, store_collection
from pyserini_tasb.formats.named import load_topics
from pyserini_tasb.formats.text_store import TextLookup, TextStore, TextStoreWriter, fill_text_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Protocol

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_builder import PairRows
    from pyserini_tasb.data.pair_sources import TextTriples
    from pyserini_tasb.data.pair_store import Supervision
    from pyserini_tasb.data.rows import RowFaults

    class IdSource(Protocol):
        """Pairs by ids; `IdPairs` and `JudgedRun` are such sources."""

        supervision: Supervision

        @property
        def faults(self) -> list[RowFaults]:
            """Of each file; filled while `rows` is read."""

        def rows(self, queries: TextLookup, passages: TextLookup, guard: NegativeGuard) -> Iterator[PairRows]:
            """The pairs whose negatives `guard` keeps, in chunks."""


RECENT = 1 << 20
_DIGESTS = np.dtype([("high", ">u8"), ("low", ">u8")])


class TextPool:
    """Numbers texts in the order of their first appearance.

    Memory: 24 bytes for each distinct text, and about 150 MB for the last million.

    Args:
        writer: gets each text the first time, under the hexadecimal BLAKE2b digest (128 bits) of its UTF-8.
    """

    def __init__(self, writer: TextStoreWriter) -> None:
        self._writer = writer
        self._recent: dict[bytes, int] = {}
        self._high, self._low = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        self._indices = np.zeros(0, np.int64)

    def add(self, texts: Sequence[bytes]) -> NDArray[np.int64]:
        """The index of each text."""
        digests = [blake2b(text, digest_size=16).digest() for text in texts]
        indices = self._find(digests)
        new: dict[bytes, bytes] = {}
        for row in np.flatnonzero(indices < 0).tolist():
            digest = digests[row]
            index = self._recent.setdefault(digest, self._writer.records + len(new))
            if index == self._writer.records + len(new):
                new[digest] = texts[row]
            indices[row] = index
        self._writer.add([digest.hex().encode() for digest in new], list(new.values()))
        if len(self._recent) > RECENT:
            self._settle()
        return indices

    def _find(self, digests: list[bytes]) -> NDArray[np.int64]:
        """Indices among the texts that are not recent, else -1."""
        if not len(self._high):
            return np.full(len(digests), -1)
        wanted = np.frombuffer(b"".join(digests), _DIGESTS)
        places = np.minimum(np.searchsorted(self._high, wanted["high"]), len(self._high) - 1)
        same = (self._high[places] == wanted["high"]) & (self._low[places] == wanted["low"])
        return np.where(same, self._indices[places], -1)

    def _settle(self) -> None:
        """Move the recent texts into the sorted arrays, which are smaller and dearer to change than a dict."""
        recent = np.frombuffer(b"".join(self._recent), _DIGESTS)
        high = np.concatenate((self._high, recent["high"].astype(np.uint64)))
        order = np.argsort(high)
        self._high = high[order]
        self._low = np.concatenate((self._low, recent["low"].astype(np.uint64)))[order]
        added = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        self._indices = np.concatenate((self._indices, added))[order]
        self._recent = {}


# --------
# From sources of pairs to a pair store.


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
