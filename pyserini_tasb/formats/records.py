"""The records of a collection, each an id and a text: lines of a file, or documents of a Lucene index."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from pyserini_tasb.environment.java import ensure_java
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import FAULTS_SHOWN, LineFaults, open_lines, require_utf8
from pyserini_tasb.parsing import json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import BufferedReader
    from pathlib import Path


EXPECTED = "id TAB text, or of JSON with an id (id, _id, docid) and a text (text, with or without title; or contents)"
Record = TypeVar("Record")
ID_FIELDS = ("id", "_id", "docid")  # in the order in which Pyserini looks


class LineStart(NamedTuple):
    """Where a line of a file begins.

    Args:
        number: of the line, from 1.
        offset: bytes of the file before it, decompressed.
    """

    number: int = 1
    offset: int = 0


def read_records(
    path: Path,
    parse_tsv: Callable[[str], Record],
    parse_json: Callable[[str], Record],
    start: LineStart = LineStart(),  # noqa: B008 - immutable
) -> Iterator[tuple[LineStart, Record]]:
    """The records of all lines but blank ones, and where each begins; whether a file is JSONL is seen from its first.

    Args:
        path: plain, gzip or Zstandard.
        parse_tsv: a line's record; a ValueError says what is wrong with it.
        parse_json: the same, for JSONL.
        start: the first line to read, one that this function has told of.

    Raises:
        TasbError: faulty lines, all of them named once the file is read.
    """
    faults = LineFaults(path, expected=EXPECTED)
    parse = parse_json if start.offset and _is_json(path) else parse_tsv if start.offset else None
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
            parse = parse or (parse_json if line.lstrip().startswith("{") else parse_tsv)
            records += 1
            try:
                require_utf8(line)
                record = parse(line)
            except ValueError as error:
                faults.add(number, str(error))
            else:
                yield here, record
    faults.finish(records=records)


def _is_json(path: Path) -> bool:
    with open_lines(path) as lines:
        return next((line for line in lines if line.strip()), "").lstrip().startswith("{")


def parse_tsv_record(line: str) -> tuple[str, str]:
    """Id and text of `id TAB text`.

    Raises:
        ValueError: not two columns, or no id for TREC files.
    """
    columns = line.split("\t")
    if len(columns) != 2:
        raise ValueError(f"{len(columns)} column{'s' if len(columns) > 1 else ''} between tabs")
    require_id(columns[0])
    return columns[0], columns[1].strip()


def parse_json_record(line: str) -> tuple[str, str]:
    """Id and text of a JSON object in Pyserini's or BEIR's form.

    `text` goes with `title`, if there is one, as `--fields title text` encodes them; `contents` stands alone.

    Raises:
        ValueError: not such an object, or no id for TREC files.
    """
    record = json_object(line)
    id_ = next((record[field] for field in ID_FIELDS if record.get(field) is not None), None)
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise ValueError(f"no id in {', '.join(ID_FIELDS)}: a string or an integer")  # noqa: TRY004
    require_id(str(id_))
    if "text" in record:
        return str(id_), f"{_field(record, 'title')} {_field(record, 'text')}".strip()
    if "contents" not in record:
        raise ValueError("neither text nor contents")
    return str(id_), join_lines(_field(record, "contents"))


def join_lines(contents: str) -> str:
    """Pyserini's `contents`, where a line end separates title and text, as one line."""
    return " ".join(filter(None, (line.strip() for line in contents.split("\n"))))


def require_id(id_: str) -> None:
    """Refuse an id that no TREC file could hold.

    Raises:
        ValueError: saying so.
    """
    if id_.split() != [id_]:
        raise ValueError(f"the id {id_!r} is empty or has white space in it")
    _require_encodable("the id", id_)


def _field(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:  # how Pyserini writes an empty field
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")  # noqa: TRY004
    _require_encodable(name, value)
    return value.strip()


def _require_encodable(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} has a lone surrogate in it") from error


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
