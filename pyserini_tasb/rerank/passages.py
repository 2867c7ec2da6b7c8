"""The texts of a run's passages, out of a collection that may hold thousands of times as many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.errors import TasbError
from pyserini_tasb.rerank.lucene_lookup import LuceneLookup
from pyserini_tasb.rerank.requirements import NAMED
from pyserini_tasb.texts.collections import StoredCollection, open_collection
from pyserini_tasb.texts.lucene_collection import LuceneCollection

if TYPE_CHECKING:
    from collections.abc import Collection as Some
    from pathlib import Path

    from pyserini_tasb.texts.collections import Collection


def read_passages(path: Path, docids: Some[str]) -> dict[str, str]:
    """The texts of some passages, those of them that the collection has; in memory, about 0.6 kB for each.

    Text stores and Lucene indexes are asked by docid. Any other collection is read once, to its end: only then is it
    known that its lines are sound and no docid is there twice.

    Args:
        path: as of `open_collection`.
        docids: of the passages.

    Returns:
        docid → text, which may be empty.

    Raises:
        TasbError: no such collection, a faulty one, or one with two texts for a docid.
    """
    collection = open_collection(path)
    if isinstance(collection, StoredCollection):
        wanted = list(docids)
        indices = collection.store.indices(wanted)
        found = [docid for docid, index in zip(wanted, indices.tolist(), strict=True) if index >= 0]
        return dict(zip(found, collection.store.texts(indices[indices >= 0]), strict=True))
    if isinstance(collection, LuceneCollection):
        texts, repeated = LuceneLookup(collection.folder).texts(docids)
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


def _streamed(collection: Collection, wanted: set[str], source: str) -> tuple[dict[str, str], list[str]]:
    texts: dict[str, str] = {}
    repeated = {}
    for docid, text in tqdm(collection, desc=source, unit=" texts", mininterval=1.0):
        if docid in wanted:
            if docid in texts:
                repeated[docid] = True
            texts[docid] = text
    return texts, list(repeated)
