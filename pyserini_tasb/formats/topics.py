"""Topics: queries by their ids, as TSV or JSONL."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import (
    FILES_BY_COLUMNS,
    LineFaults,
    is_header,
    note_header,
    open_lines,
    require_utf8,
)
from pyserini_tasb.formats.readers import read_with
from pyserini_tasb.parsing import json_object
from pyserini_tasb.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyserini_tasb.formats.readers import Reader


Topics: TypeAlias = dict[str, str]
"""qid → text of the query, in the file's order."""

QID_FIELDS = ("qid", "id", "_id")
TEXT_FIELDS = ("text", "contents", "title", "query")


READERS: Registry[Callable[[Path], Topics]] = Registry(
    "reader of topics",
    "topic-readers",
    takes=("a path",),
    prepared=lambda name, reader: reader if name == "lines" else partial(_read, name, reader),
)


def _read(name: str, reader: Reader, path: Path) -> Topics:
    topics: Topics = {}
    for qid, text in read_with(name, reader, path):
        try:
            _add_topic(topics, qid, text)
        except ValueError as error:
            raise TasbError(
                where=str(path),
                expected=f"one text for each query, from the reader `{name}`",
                found=str(error),
                do="fix the file, or the reader",
            ) from error
    if not topics:
        raise TasbError(
            where=str(path),
            expected=f"at least one query, from the reader `{name}`",
            found="none",
            do="check the file, or fix the reader",
        )
    return topics


@READERS.register("lines")
def read_topics(path: Path) -> Topics:
    """TSV or JSONL, plain or compressed; a file whose first line opens a JSON object is JSONL. Ids stay strings.

    A first line of TSV that names its columns is skipped, with a note.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not two columns, not the JSON expected,
            no text, an id with white space or a second time, not UTF-8. All are named.
    """
    topics: Topics = {}
    expected = f"qid TAB text, or of JSON with one of {', '.join(QID_FIELDS)} and one of {', '.join(TEXT_FIELDS)}"
    faults = LineFaults(path, expected=expected)
    parse: Callable[[str], tuple[str, str]] | None = None
    with open_lines(path) as lines:
        for number, ended in enumerate(lines, 1):
            line = ended.rstrip("\r\n")
            if not line.strip():
                continue
            try:
                require_utf8(line)
                if parse is None:
                    parse = _parse_json if line.lstrip().startswith("{") else _parse_tsv
                    columns = line.split("\t")
                    if parse is _parse_tsv and len(columns) == 2 and is_header(columns):
                        note_header(path, number, columns)
                        continue
                _add_topic(topics, *parse(line))
            except ValueError as error:
                faults.add(number, str(error))
    faults.finish(records=len(topics))
    return topics


def _parse_tsv(line: str) -> tuple[str, str]:
    columns = line.split("\t")
    if len(columns) != 2:
        words = line.split()
        is_trec = len(words) in FILES_BY_COLUMNS and words[1] in {"0", "Q0"}
        file = FILES_BY_COLUMNS[len(words)] if is_trec else ""
        raise ValueError(f"{len(columns)} column{'s' if len(columns) > 1 else ''} between tabs{file}")
    return columns[0], columns[1]


def _parse_json(line: str) -> tuple[str, str]:
    record = json_object(line)
    qid = next((record[field] for field in QID_FIELDS if field in record), None)
    if isinstance(qid, bool) or not isinstance(qid, str | int):
        raise ValueError(f"no id in {', '.join(QID_FIELDS)}: a string or an integer")  # noqa: TRY004
    text = next((record[field] for field in TEXT_FIELDS if record.get(field)), "")
    if not isinstance(text, str):
        raise ValueError("the text is not a string")  # noqa: TRY004
    return str(qid), text


def _add_topic(topics: Topics, qid: str, text: str) -> None:
    if qid.split() != [qid]:
        raise ValueError(f"the id {qid!r} is empty or has white space in it")
    if not text.strip():
        raise ValueError(f"no text for query {qid}")
    if qid in topics:
        raise ValueError(f"query {qid} a second time")
    topics[qid] = text
