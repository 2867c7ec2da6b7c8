"""Scored pairs for an ensemble, with every faulty line named."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pyserini_tasb.evaluate.line_files import LineFaults, open_lines, require_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_scored_pairs(path: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """The columns of each line of a scored-pairs file, plain or gzip: two scores, query, positive, negative.

    Raises:
        TasbError: at its end, if lines are faulty; all are named.
    """
    faults = LineFaults(path, expected="5 columns separated by tabs: pos_score neg_score qid pos_pid neg_pid")
    pairs = 0
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            text = line.rstrip("\r\n")
            if not text:
                continue
            try:
                yield _columns(text)
                pairs += 1
            except ValueError as error:
                faults.add(number, str(error))
    faults.finish(records=pairs)


def _columns(text: str) -> tuple[str, str, str, str, str]:
    if not text.isascii():
        require_utf8(text)
    columns = text.split("\t")
    if len(columns) != 5:
        only_margins = " (margins only? a mean over teachers needs both scores)" if len(columns) == 4 else ""
        raise ValueError(f"{len(columns)} columns{only_margins}")
    positive_score, negative_score, qid, positive, negative = columns
    for name in (qid, positive, negative):
        if not name or name != name.strip():
            raise ValueError(f"id {name!r} is empty or begins or ends with white space")
    if positive == negative:
        raise ValueError(f"passage {positive} is the positive and the negative")
    for score in (positive_score, negative_score):
        if not _is_finite_number(score):
            raise ValueError(f"score {score!r} is not a finite number")
    return positive_score, negative_score, qid, positive, negative


def _is_finite_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text  # float() takes 1_0 for 10
    except ValueError:
        return False
