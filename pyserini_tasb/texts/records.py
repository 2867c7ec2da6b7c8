"""The records of a file, one a line: an id and the text that an encoder would see."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from pyserini_tasb.evaluate.line_files import LineFaults, open_lines, require_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError("JSON, but not an object")  # noqa: TRY004 - the line is wrong, not the caller
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
