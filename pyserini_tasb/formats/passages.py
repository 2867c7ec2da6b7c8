"""The texts of a run's passages, out of a collection that may hold thousands of times as many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import StoredCollection, open_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.named import same_ids_advice
from pyserini_tasb.formats.records import LuceneCollection, text_of_document

if TYPE_CHECKING:
    from collections.abc import Collection as Some
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pyserini_tasb.formats.collections import Collection


NAMED = 5


def read_passages(path: Path, docids: Some[str], fields: Fields = Fields()) -> dict[str, str]:  # noqa: B008 - immutable
    """The texts of some passages, those of them that the collection has; in memory, about 0.6 kB for each.

    Text stores and Lucene indexes are asked by docid. Any other collection is read once, to its end: only then is it
    known that its lines are sound and no docid is there twice.

    Args:
        path: a collection, as `open_collection` takes it.
        docids: the passages that are wanted.
        fields: the fields of the docid and the text.

    Returns:
        docid → text, which may be empty.

    Raises:
        TasbError: no such collection, a faulty one, or one with two texts for a docid.
    """
    collection = open_collection(path, fields)
    if isinstance(collection, StoredCollection):
        wanted = list(docids)
        indices = collection.store.indices(wanted)
        found = [docid for docid, index in zip(wanted, indices.tolist(), strict=True) if index >= 0]
        return dict(zip(found, collection.store.texts(indices[indices >= 0]), strict=True))
    if isinstance(collection, LuceneCollection):
        texts, repeated = LuceneLookup(collection.folder, fields).texts(docids)
    else:
        texts, repeated = _streamed(collection, set(docids), str(path))
    if repeated:
        raise TasbError(
            where=str(path),
            expected="one text for each docid",
            found=f"more for {len(repeated)} of the run: {', '.join(repeated[:NAMED])}{' …' * (len(repeated) > NAMED)}",
            do="remove the repeated records",
        )
    return texts


class LuceneLookup(LuceneCollection):
    """A Lucene index that is asked for documents by docid; the arguments are those of `LuceneCollection`."""

    def texts(self, docids: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """The texts of those docids that are there, and which of them several documents have.

        Raises:
            TasbError: Pyserini cannot open the index, or it does not store a document's text.
        """
        reader = self.open()
        from pyserini.pyclass import autoclass

        term, utilities = autoclass("org.apache.lucene.index.Term"), autoclass("io.anserini.index.IndexReaderUtils")()
        texts, repeated, without = {}, [], []
        for docid in tqdm(docids, desc=f"reading {self.folder}", unit=" texts", mininterval=1.0):
            count = reader.docFreq(term("id", docid))
            if count > 1:
                repeated.append(docid)
            if count:
                try:
                    texts[docid] = text_of_document(utilities.document(reader, docid), self._fields)
                except ValueError as error:
                    without.append(f"document {docid}: {error}")
        if without:
            more = [f"… and {len(without) - NAMED} more"] if len(without) > NAMED else []
            raise TasbError(
                where=str(self.folder),
                expected="a Lucene index that stores every document's text",
                found=f"{len(without)} of the run without:\n    " + "\n    ".join(without[:NAMED] + more),
                do="build it with --storeContents, or with --storeRaw from a JsonCollection",
            )
        return texts, repeated


def _streamed(collection: Collection, wanted: set[str], source: str) -> tuple[dict[str, str], list[str]]:
    texts: dict[str, str] = {}
    repeated = {}
    for docid, text in tqdm(collection, desc=f"reading {source}", unit=" texts", mininterval=1.0):
        if docid in wanted:
            if docid in texts:
                repeated[docid] = True
            texts[docid] = text
    return texts, list(repeated)


def require_topics(qids: Some[str], topics: Mapping[str, str], where: str | None = None) -> None:
    """Refuse a run with queries that have no text.

    Args:
        qids: the run's queries.
        topics: qid → text.
        where: what the topics are of, for messages.

    Raises:
        TasbError: counting them and naming the first.
    """
    without = [qid for qid in qids if not topics.get(qid, "").strip()]
    if without:
        raise TasbError(
            where=where,
            expected=f"a topic for every query of the run, {len(qids)} of them",
            found=f"{len(topics)} topics, and none for {_counted(without)}",
            do=same_ids_advice(qids, topics, "check that run and topics belong together")
            if topics.keys().isdisjoint(qids)
            else "check that run and topics belong together",
        )


def require_texts(docids: Iterable[str], passages: Mapping[str, str], where: str | None = None) -> None:
    """Refuse passages that are missing or empty.

    Args:
        docids: the docids of the passages to score; repeated ones count once.
        passages: docid → text.
        where: what the passages are of, for messages.

    Raises:
        TasbError: counting them and naming the first.
    """
    wanted = dict.fromkeys(docids)
    missing = [docid for docid in wanted if docid not in passages]
    empty = [docid for docid in wanted if docid in passages and not passages[docid].strip()]
    found = [f"{_counted(missing)} not in the collection"] if missing else []
    found += [f"{_counted(empty)} without text"] if empty else []
    if found:
        raise TasbError(
            where=where,
            expected=f"the texts of the run's passages, {len(wanted)} of them",
            found="; ".join(found),
            do="check that run and collection belong together; remove documents without text from the run",
        )


def _counted(ids: Sequence[str]) -> str:
    return f"{len(ids)} ({', '.join(ids[:NAMED])}{', …' if len(ids) > NAMED else ''})"
