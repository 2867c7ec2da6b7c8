"""Documents with their titles apart, out of the collections that `open_collection` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.texts.collections import LineCollection, open_collection
from pyserini_tasb.texts.records import parse_json_record, parse_tsv_record, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Document:
    """One document of a collection.

    Args:
        docid: its id.
        title: empty where it has none.
        text: all but the title.
    """

    docid: str
    title: str
    text: str


def read_documents(collection: Path) -> Iterator[Document]:
    """The documents of a collection, in its order.

    JSON has titles: the field `title`, or of `contents` the first line if more follow, as Anserini writes them. Where
    `contents` begin with the title, their text is the rest. TSV, Lucene indexes and text stores have none.

    Raises:
        TasbError: nothing to read, or faulty lines; all of a file's are named once it is read.
    """
    opened = open_collection(collection)
    if isinstance(opened, LineCollection):
        for file in opened.files():
            yield from (document for _, document in read_records(file, _parse_tsv, _parse_json))
    else:
        yield from (Document(docid, "", text) for docid, text in opened)


def _parse_tsv(line: str) -> Document:
    docid, text = parse_tsv_record(line)
    return Document(docid, "", text)


def _parse_json(line: str) -> Document:
    docid, whole = parse_json_record(line)  # which knows what can be wrong with a line
    record = json.loads(line)
    title = record.get("title") or ""
    if not title and "text" not in record:
        first, _, rest = (record["contents"] or "").strip().partition("\n")
        title = first if rest else ""
    title = title.strip() if isinstance(title, str) else ""
    return Document(docid, title, whole.removeprefix(title).strip())
