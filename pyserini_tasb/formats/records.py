"""The records of a collection, each an id and a text: lines of a file, or documents of a Lucene index."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from pyserini_tasb.environment.java import prepare_java
from pyserini_tasb.errors import TasbError, argument, shown
from pyserini_tasb.formats.fields import ID_FIELDS, Fields, join_lines, require_id
from pyserini_tasb.formats.lines import (
    FAULTS_SHOWN,
    LineFaults,
    is_header,
    note_header,
    open_lines,
    require_utf8,
)
from pyserini_tasb.parsing import json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import BufferedReader
    from pathlib import Path

    from pyserini_tasb.formats.fields import Row


Record = TypeVar("Record")


class LineStart(NamedTuple):
    """Where a line of a file begins.

    Args:
        number: the number of the line, from 1.
        offset: bytes of the file before it, decompressed.
    """

    number: int = 1
    offset: int = 0


def read_records(
    path: Path,
    record_of: Callable[[Row], Record],
    fields: Fields = Fields(),  # noqa: B008 - immutable
    start: LineStart = LineStart(),  # noqa: B008 - immutable
    on_header: Callable[[Path, int, Sequence[str]], None] = note_header,
) -> Iterator[tuple[LineStart, Record]]:
    """The records of all lines but blank ones, and where each begins.

    The first line says whether a file is JSONL or TSV, and whether it names the columns of a TSV.

    Args:
        path: plain or compressed.
        record_of: makes a record of a line's fields; a ValueError says what is wrong with them.
        fields: the fields that `record_of` looks at.
        start: the first line to read, one that this function has told of.
        on_header: is told of a header: the file, the line's number, and its columns.

    Raises:
        TasbError: faulty lines, all of them named once the file is read; or a TSV that does not name its columns,
            where fields are asked for.
    """
    faults = LineFaults(path, expected=fields.expected, advice=fields.advice)
    rows = _Rows(path, _first_line(path), fields) if start.offset else None
    records, offset = 0, start.offset
    with open_lines(path, offset) as lines:
        if not offset and cast("BufferedReader", lines.buffer).peek(len(BOM_UTF8)).startswith(BOM_UTF8):
            offset = len(BOM_UTF8)
        for number, ended in enumerate(lines, start.number):
            here = LineStart(number, offset)
            offset += len(ended) if ended.isascii() else len(ended.encode("utf-8", "surrogateescape"))
            line = ended.rstrip("\r\n")
            if not line.strip():
                continue
            try:
                require_utf8(line)
                if rows is None:
                    rows = _Rows(path, line, fields)
                    if rows.header:
                        on_header(path, number, rows.header)
                        continue
                records += 1
                record = record_of(rows.row(line))
            except ValueError as error:
                faults.add(number, str(error))
            else:
                yield here, record
    faults.finish(records=records)


def record_starts(
    path: Path,
    fields: Fields = Fields(),  # noqa: B008 - immutable
    on_header: Callable[[Path, int, Sequence[str]], None] = note_header,
) -> Iterator[LineStart]:
    """Where each record of a plain file begins, many times as fast as `read_records`: only line ends are looked for.

    Faulty lines count as records, and so does a line of nothing but spaces beyond ASCII.

    Args:
        path: a plain file.
        fields: the fields that are asked for.
        on_header: see `read_records`.

    Raises:
        TasbError: see `read_records`.
        OSError: the file cannot be read.
    """
    rows = None
    with path.open("rb") as lines:
        offset = len(BOM_UTF8) if lines.read(len(BOM_UTF8)) == BOM_UTF8 else 0
        lines.seek(offset)
        for number, ended in enumerate(lines, 1):
            here = LineStart(number, offset)
            offset += len(ended)
            if ended.isspace():
                continue
            if rows is None:
                rows = _Rows(path, _first_line(path), fields)
                if rows.header:
                    on_header(path, number, rows.header)
                    continue
            yield here


def _first_line(path: Path) -> str:
    with open_lines(path) as lines:
        return next((line for line in lines if line.strip()), "").rstrip("\r\n")


class _Rows:
    """The fields of a file's lines, as its first line tells them.

    Attributes:
        header: the columns of the first line, if it names them; otherwise none.

    Args:
        path: the file, for messages.
        first: its first line that is not blank.
        fields: the requested documents.

    Raises:
        TasbError: the file is TSV, and does not name its columns as `fields` need it.
    """

    def __init__(self, path: Path, first: str, fields: Fields) -> None:
        self._is_json = first.lstrip().startswith("{")
        self.header: list[str] = []
        self._names = ["id", "text"]
        columns = first.split("\t")
        if self._is_json:
            return
        asked = [*fields.names, *filter(None, [fields.docid])]
        if is_header(columns) or (asked and set(asked) <= set(columns)):
            self.header, self._names = columns, list(columns)
            if not fields.docid:
                self._names[0] = ID_FIELDS[0]
            if len(columns) == 2 and not fields.names:  # then the column that is not the docid is the text
                self._names[0 if columns[1] == fields.docid else 1] = "text"
        if missing := [name for name in asked if name not in self.header]:
            raise TasbError(
                where=str(path),
                expected=f"JSONL, or TSV whose first line names its columns, with {', '.join(missing)} among them",
                found=f"TSV whose first line is {shown(' TAB '.join(columns))}",
                do=f"add a header line, name other columns, or leave out {argument('fields')} and "
                f"{argument('docid_field')}: then a line is id TAB text",
            )

    def row(self, line: str) -> Row:
        """The fields of a line.

        Raises:
            ValueError: it is not JSON, or has more or fewer columns.
        """
        if self._is_json:
            return json_object(line)
        columns = line.split("\t")
        if len(columns) != len(self._names):
            below = f", below a header of {len(self._names)}" if self.header else ""
            raise ValueError(f"{len(columns)} column{'s' if len(columns) > 1 else ''} between tabs{below}")
        if len(columns) == 2:  # nearly always, and millions of times
            return {self._names[0]: columns[0], self._names[1]: columns[1]}
        return dict(zip(self._names, columns, strict=True))


class LuceneCollection:
    """The documents of a Lucene index, in the index's order.

    The text is the stored `contents`, or what the stored raw JSON holds in Pyserini's or BEIR's fields. Starts a JVM;
    about 5,000 documents a second.

    Args:
        folder: the index.
        fields: the fields of the text, out of the stored raw JSON, or stored by these names. An index has its own
            docids.

    Raises:
        TasbError: a field of docids is named.
    """

    def __init__(self, folder: Path, fields: Fields = Fields()) -> None:  # noqa: B008 - immutable
        self.folder, self._fields = folder, fields
        if fields.docid:
            raise TasbError(
                where=str(folder),
                expected=f"a JSONL or TSV file for {argument('docid_field')}",
                found="a Lucene index, which has docids of its own",
                do=f"leave out {argument('docid_field')}",
            )

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
                text = text_of_document(document, self._fields)
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
        prepare_java()
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


def text_of_document(document: Any, fields: Fields = Fields()) -> str:  # noqa: B008 - immutable
    """The text that a stored Lucene document holds.

    Args:
        document: Lucene's.
        fields: the fields of the text.

    Raises:
        ValueError: none, or none that can be read.
    """
    contents, raw = document.get("contents"), document.get("raw")
    if fields.names:
        stored = {name: document.get(name) for name in (*fields.names, "contents")}
        known = {name: value for name, value in stored.items() if value is not None}
        return fields.text_of(known if raw is None else json_object(raw))
    if contents is not None:
        return join_lines(contents)
    if raw is None:
        raise ValueError("neither contents nor raw are stored")
    return fields.text_of(json_object(raw))
