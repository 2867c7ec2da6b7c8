"""Relevance judgments: TREC's four columns, or BEIR's three with a header."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from pyserini_tasb.formats.lines import (
    FILES_BY_COLUMNS,
    LineFaults,
    column_lines,
    is_header,
    note_header,
    open_lines,
    split_columns,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


QrelsDict: TypeAlias = dict[str, dict[str, int]]
"""qid → docid → grade, in the file's order."""

BEIR = ("query-id", "corpus-id", "score")
EXPECTED = f"4 columns: qid iteration docid grade; or of BEIR's 3 columns, below the header {' '.join(BEIR)}"
# trec_eval makes an array as long as the highest grade: a docid in that column would take gigabytes.
_GRADE = re.compile(r"-?[0-9]{1,4}", re.ASCII)
# Where a line has qid, docid and grade.
_TREC_PLACES = (0, 2, 3)


def read_qrels(path: Path) -> QrelsDict:
    """Read judgments, plain or compressed: TREC's, or BEIR's, which its header tells from other files of 3 columns.

    Ids stay strings. The columns of BEIR's header may stand in any order. A header above TREC's columns is skipped,
    with a note.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not as many columns, a grade that is no
            integer, one pair with two grades, not UTF-8, too long. All are named.
    """
    qrels: QrelsDict = {}
    faults = LineFaults(path, expected=EXPECTED)
    add = partial(_add_judgment, qrels, width=4, places=_TREC_PLACES)
    is_first = True
    with open_lines(path) as lines:
        for number, line in enumerate(column_lines(lines), 1):
            try:
                columns = split_columns(line)
                if not columns:
                    continue
                if is_first:
                    is_first = False
                    if places := _places_of_beir(columns):
                        add = partial(_add_judgment, qrels, width=3, places=places)
                        continue
                    if len(columns) == 4 and is_header(columns) and not _GRADE.fullmatch(columns[3]):
                        note_header(path, number, columns)
                        continue
                add(columns)
            except ValueError as error:
                faults.add(number, str(error))
    faults.finish(records=len(qrels))
    return qrels


def _places_of_beir(columns: Sequence[str]) -> tuple[int, ...] | None:
    """Where qid, docid and grade stand below this header; None if it is not BEIR's."""
    names = [name.lower().replace("_", "-") for name in columns]
    return tuple(map(names.index, BEIR)) if sorted(names) == sorted(BEIR) else None


def _add_judgment(qrels: QrelsDict, columns: list[str], *, width: int, places: tuple[int, ...]) -> None:
    if len(columns) != width:
        header = f"; below the header {' '.join(BEIR)} they would be BEIR's" if len(columns) == len(BEIR) else ""
        raise ValueError(f"{len(columns)} columns{FILES_BY_COLUMNS[6] if len(columns) == 6 else header}")
    qid, docid, grade_text = (columns[place] for place in places)
    if not _GRADE.fullmatch(grade_text):
        raise ValueError(f"grade {grade_text!r} is not an integer of at most 4 digits")
    grade = int(grade_text)
    if qrels.setdefault(qid, {}).setdefault(docid, grade) != grade:
        raise ValueError(f"query {qid}, document {docid} has grade {grade} here and {qrels[qid][docid]} before")
