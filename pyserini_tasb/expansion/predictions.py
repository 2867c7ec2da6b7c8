"""Published predictions of docT5query: text, text with docids in front, and JSONL."""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import LineFaults, is_header, note_header, open_lines, require_utf8
from pyserini_tasb.parsing import json_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


QUERIES = "predicted_queries"


@dataclass(frozen=True)
class Prediction:
    """The queries that are predicted for one passage.

    Args:
        place: `file:line`.
        docid: the docid of the passage; None where the file does not say.
        queries: joined by spaces; empty if there are none.
        count: how many queries they are; of text, in how many lines they stood.
    """

    place: str
    docid: str | None
    queries: str
    count: int


class Form(Enum):
    """The forms of published predictions, and what is counted in each."""

    JSONL = "JSONL"
    NUMBERED = "numbered"
    TEXT = "text"

    @property
    def unit(self) -> str:
        """The word for what a prediction counts."""
        return "lines of queries" if self is Form.TEXT else "queries"


def form_of_predictions(path: Path) -> Form:
    """The form that the first line of a file shows which is not blank.

    Raises:
        TasbError: the file cannot be read.
    """
    with open_lines(path) as lines:
        first = next((line for line in lines if line.strip()), "")
    if first.startswith("{"):
        return Form.JSONL
    return Form.NUMBERED if _NUMBERED.fullmatch(first.rstrip("\r\n")) else Form.TEXT


_NUMBERED = re.compile(r"([^\s\t]+)\t([^\t]*)")
_BEGINS_WITH_A_NUMBER = re.compile(r"[0-9]+\t")


def read_predictions(paths: Sequence[Path]) -> Iterator[Prediction]:
    """The predictions of all passages, as docTTTTTquery's authors publish them.

    Two forms: text, a line of queries for each passage (of several files, samples of the same passages, the lines are
    joined, as `paste -d" "` does); and JSONL, `{"id": "0", "predicted_queries": ["…", "…"]}`, several files one after
    the other.

    Raises:
        TasbError: a file cannot be read; once all are read, faulty lines, all named; text files of unequal length.
    """
    return _read_jsonl(paths) if form_of_predictions(paths[0]) is Form.JSONL else _read_text(paths)


def read_numbered(path: Path) -> Iterator[Prediction]:
    """The predictions of those passages that have any, out of lines of `docid TAB query`.

    Lines of one passage stand together. A header is skipped, with a note.

    Raises:
        TasbError: the file cannot be read; once all of it is read, faulty lines, all named.
    """
    faults = LineFaults(path, expected="docid TAB query, as the first line is")
    docid: str | None = None
    queries: list[str] = []
    place, records = "", 0
    with open_lines(path) as lines:
        for number, ended in enumerate(lines, 1):
            line = ended.rstrip("\r\n")
            if not line.strip():
                continue
            try:
                of, query = _split(line)
            except ValueError as error:
                faults.add(number, str(error))
                continue
            if not records and is_header((of, query)):
                note_header(path, number, (of, query))
                continue
            records += 1
            if of != docid:
                if docid is not None:
                    yield Prediction(place, docid, _joined(queries), len(queries))
                docid, queries, place = of, [], f"{path}:{number}"
            if query.strip():
                queries.append(query)
    if docid is not None:
        yield Prediction(place, docid, _joined(queries), len(queries))
    faults.finish(records=records)


def _split(line: str) -> tuple[str, str]:
    require_utf8(line)
    found = _NUMBERED.fullmatch(line)
    if not found:
        raise ValueError("no docid and tab in front of one query")
    return found[1], found[2]


def _read_jsonl(paths: Sequence[Path]) -> Iterator[Prediction]:
    for place, docid, queries in read_separate(paths):
        yield Prediction(place, docid, _joined(queries), len(queries))


def read_separate(paths: Sequence[Path]) -> Iterator[tuple[str, str | None, list[str]]]:
    """Place, docid and predicted queries of each passage, of files of JSONL one after the other.

    Raises:
        TasbError: a file cannot be read; once all of it is read, faulty lines, all named.
    """
    for path in paths:
        faults = LineFaults(path, expected=f'{{"id": …, "{QUERIES}": [query, …]}}')
        number = 0
        with open_lines(path) as lines:
            for number, line in enumerate(lines, 1):
                docid: str | None = None
                queries: list[str] = []
                try:
                    require_utf8(line)
                    docid, queries = _parse(line)
                except ValueError as error:
                    faults.add(number, str(error))
                yield f"{path}:{number}", docid, queries
        faults.finish(records=number)


def _parse(line: str) -> tuple[str, list[str]]:
    record = json_object(line)
    docid, queries = record.get("id"), record.get(QUERIES)
    if isinstance(docid, bool) or not isinstance(docid, str | int):
        raise ValueError("no id: a string or an integer")  # noqa: TRY004
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError(f"{QUERIES} is not a list of strings")
    return str(docid), queries


def _read_text(paths: Sequence[Path]) -> Iterator[Prediction]:
    faults = [LineFaults(path, expected="a passage's predicted queries") for path in paths]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_lines(path)) for path in paths]
        counts = [0] * len(files)
        for number, lines in enumerate(itertools.zip_longest(*files), 1):
            for file, line in enumerate(lines):
                counts[file] += line is not None
                try:
                    require_utf8(line or "")
                except ValueError as error:
                    faults[file].add(number, str(error))
                if _BEGINS_WITH_A_NUMBER.match(line or ""):
                    faults[file].add(number, "a passage's number and a tab in front, unlike the first line")
            filled = [line for line in lines if line and line.strip()]
            yield Prediction(f"{paths[0]}:{number}", None, _joined(filled), len(filled))
    for path, of_file, count in zip(paths, faults, counts, strict=True):
        of_file.finish(records=count)
        if count != max(counts):
            longest = paths[counts.index(max(counts))]
            raise TasbError(
                where=str(path),
                expected=f"{max(counts):,} lines, as {longest} has",
                found=f"{count:,}",
                do="give samples of the same passages; concatenate the parts of one sample first",
            )


def _joined(queries: Sequence[str]) -> str:
    return " ".join(filter(None, (" ".join(query.split()) for query in queries)))
