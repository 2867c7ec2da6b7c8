"""Runs in MS MARCO's three columns, which have ranks and no scores."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.line_files import read_columns

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.evaluate.runs import Run

_RANK = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


def read_msmarco_run(path: Path) -> Run:
    """Read a run of `qid docid rank` lines; a document's score is 1 / rank, as Pyserini's converter has it.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not three columns, a rank that is no
            integer from 1 on, a document twice for one query, not UTF-8. All are named.
    """
    run: Run = {}
    faults = read_columns(path, partial(_add_hit, run), expected="3 columns: qid docid rank")
    faults.finish(records=len(run))
    return run


def _add_hit(run: Run, columns: list[str]) -> None:
    if len(columns) != 3:
        raise ValueError(f"{len(columns)} columns")
    qid, docid, rank = columns
    if not _RANK.fullmatch(rank):
        raise ValueError(f"rank {rank!r} is not an integer from 1 on")
    ranking = run.setdefault(qid, {})
    if docid in ranking:
        raise ValueError(f"document {docid} a second time for query {qid}")
    ranking[docid] = 1 / int(rank)
