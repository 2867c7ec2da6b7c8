"""Relevance judgments in TREC's four columns."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from pyserini_tasb.formats.lines import read_columns

if TYPE_CHECKING:
    from pathlib import Path


QrelsDict: TypeAlias = dict[str, dict[str, int]]
"""qid → docid → grade, in the file's order."""

# trec_eval makes an array as long as the highest grade: a docid in that column would take gigabytes.
_GRADE = re.compile(r"-?[0-9]{1,4}", re.ASCII)


def read_qrels(path: Path) -> QrelsDict:
    """Read judgments, plain or gzip. Ids stay strings.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not four columns, a grade that is no
            integer, one pair with two grades, not UTF-8, too long. All are named.
    """
    qrels: QrelsDict = {}
    faults = read_columns(path, partial(_add_judgment, qrels), expected="4 columns: qid iteration docid grade")
    faults.finish(records=len(qrels))
    return qrels


def _add_judgment(qrels: QrelsDict, columns: list[str]) -> None:
    if len(columns) != 4:
        raise ValueError(f"{len(columns)} columns")
    qid, _, docid, grade_text = columns
    if not _GRADE.fullmatch(grade_text):
        raise ValueError(f"grade {grade_text!r} is not an integer of at most 4 digits")
    grade = int(grade_text)
    if qrels.setdefault(qid, {}).setdefault(docid, grade) != grade:
        raise ValueError(f"query {qid}, document {docid} has grade {grade} here and {qrels[qid][docid]} before")
