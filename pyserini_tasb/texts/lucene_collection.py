"""The texts that a Lucene index stores, read through Pyserini."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.environment.java import ensure_java
from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.line_files import FAULTS_SHOWN
from pyserini_tasb.texts.records import join_lines, parse_json_record, require_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class LuceneCollection:
    """The documents of a Lucene index, in the index's order.

    The text is the stored `contents`, or what the stored raw JSON holds in Pyserini's or BEIR's fields. Starts a JVM;
    about 5,000 documents a second.

    Args:
        folder: the index.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((id_, text) for _, id_, text in self.marked())

    def marked(self, start: tuple[int, ...] | None = None) -> Iterator[tuple[tuple[int, ...], str, str]]:
        """Mark, id and text of every document from `start` on; a mark is the document's number in the index."""
        (first,) = start or (0,)
        reader = self.open()
        stored = reader.storedFields()
        faults: list[str] = []
        count = 0
        for number in range(first, reader.maxDoc()):
            document = stored.document(number)
            id_ = document.get("id")
            try:
                require_id(id_ or "")
                text = text_of_document(document)
            except ValueError as error:
                count += 1
                if len(faults) < FAULTS_SHOWN:
                    faults.append(f"document {id_}: {error}")
            else:
                yield (number,), id_, text
        if count:
            more = [f"… and {count - len(faults)} more"] if count > len(faults) else []
            raise TasbError(
                where=str(self.folder),
                expected="a Lucene index that stores every document's text",
                found=f"{count} without:\n    " + "\n    ".join(faults + more),
                do="build it with --storeContents, or with --storeRaw from a JsonCollection",
            )

    def place(self, mark: tuple[int, ...]) -> str:
        """The document's number in the index, from 1: it has no lines."""
        return f"document {mark[0] + 1}"

    def places(self, records: Sequence[int]) -> list[str]:
        """The documents' numbers."""
        return [self.place((record - 1,)) for record in records]

    def files(self) -> list[Path]:
        """The file that names the index's segments."""
        return sorted(self.folder.glob("segments_*"))

    def open(self) -> Any:
        """Lucene's reader of the index.

        Raises:
            TasbError: Pyserini cannot open it, or it has deleted documents.
        """
        ensure_java()
        try:
            from pyserini.index.lucene import LuceneIndexReader

            reader = LuceneIndexReader(str(self.folder)).reader
        except Exception as error:  # Java and Pyserini each raise their own
            lines = str(error).splitlines()
            raise TasbError(
                where=str(self.folder),
                expected="a Lucene index that Pyserini can open",
                found=lines[0] if lines else type(error).__name__,
                do="check that the index is complete and made by this version of Pyserini; `tasb doctor` checks Java",
            ) from error
        if reader.hasDeletions():
            raise TasbError(
                where=str(self.folder),
                expected="a Lucene index without deleted documents",
                found=f"{reader.numDeletedDocs()} deleted ones, which would come back",
                do="build the index again",
            )
        return reader


def text_of_document(document: Any) -> str:
    """The text that a stored Lucene document holds.

    Raises:
        ValueError: none, or none that can be read.
    """
    contents, raw = document.get("contents"), document.get("raw")
    if contents is not None:
        return join_lines(contents)
    if raw is None:
        raise ValueError("neither contents nor raw are stored")
    return parse_json_record(raw)[1]
