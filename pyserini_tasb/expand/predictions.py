"""Predicted queries as docTTTTTquery's authors publish them, for the passages of a collection in its order.

Two forms: text, a line of queries for each passage (of several files, samples of the same passages, the lines are
joined, as `paste -d" "` does); and JSONL, `{"id": "0", "predicted_queries": ["…", "…"]}`, several files one after the
other.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.line_files import LineFaults, open_lines, require_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

QUERIES = "predicted_queries"


@dataclass(frozen=True)
class Prediction:
    """What is predicted for one passage.

    Args:
        place: `file:line`.
        docid: of the passage; None where the file does not say.
        queries: joined by spaces; empty if there are none.
    """

    place: str
    docid: str | None
    queries: str


def read_predictions(paths: Sequence[Path]) -> Iterator[Prediction]:
    """The predictions of all passages; whether the files are JSONL is seen from the first line.

    Raises:
        TasbError: a file cannot be read; once all are read, faulty lines, all named; text files of unequal length.
    """
    return _read_jsonl(paths) if _is_jsonl(paths[0]) else _read_text(paths)


def _is_jsonl(path: Path) -> bool:
    with open_lines(path) as lines:
        return next(iter(lines), "").startswith("{")


def _read_jsonl(paths: Sequence[Path]) -> Iterator[Prediction]:
    for path in paths:
        faults = LineFaults(path, expected=f'{{"id": …, "{QUERIES}": [query, …]}}')
        number = 0
        with open_lines(path) as lines:
            for number, line in enumerate(lines, 1):
                docid, queries = None, ""
                try:
                    require_utf8(line)
                    docid, queries = _parse(line)
                except ValueError as error:
                    faults.add(number, str(error))
                yield Prediction(f"{path}:{number}", docid, queries)
        faults.finish(records=number)


def _parse(line: str) -> tuple[str, str]:
    record = json.loads(line)  # its error is a ValueError
    if not isinstance(record, dict):
        raise ValueError("JSON, but not an object")  # noqa: TRY004 - the line is wrong, not the caller
    docid, queries = record.get("id"), record.get(QUERIES)
    if isinstance(docid, bool) or not isinstance(docid, str | int):
        raise ValueError("no id: a string or an integer")  # noqa: TRY004
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError(f"{QUERIES} is not a list of strings")
    return str(docid), _joined(queries)


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
            yield Prediction(f"{paths[0]}:{number}", None, _joined(line or "" for line in lines))
    for path, of_file, count in zip(paths, faults, counts, strict=True):
        of_file.finish(records=count)
        if count != max(counts):
            longest = paths[counts.index(max(counts))]
            raise TasbError(
                where=str(path),
                expected=f"{max(counts):,} lines, as {longest} has",
                found=f"{count:,}",
                do="give samples of the same passages; parts of one sample are to be concatenated first",
            )


def _joined(queries: Iterator[str] | Sequence[str]) -> str:
    return " ".join(filter(None, (" ".join(query.split()) for query in queries)))
