"""Pairs by ids, from TSV files: with the teacher's two scores, with its margin, or with neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.line_files import FAULTS_SHOWN
from pyserini_tasb.train.data.row_faults import MEND_OR_SKIP, RowFaults
from pyserini_tasb.train.data.row_files import first_row, read_rows
from pyserini_tasb.train.store.row_spool import PairRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.texts.text_lookup import TextLookup
    from pyserini_tasb.train.data.mining.false_negatives import NegativeGuard
    from pyserini_tasb.train.data.row_files import RowChunk
    from pyserini_tasb.train.store.pair_store import Supervision


@dataclass(frozen=True)
class PairFormat:
    """The columns of a file of pairs.

    Args:
        columns: their names; the last three are ids, those before them numbers.
        supervision: what they say of a pair.
    """

    columns: tuple[str, ...]
    supervision: Supervision

    def __str__(self) -> str:
        return " TAB ".join(self.columns)


IDS = ("qid", "pos_pid", "neg_pid")
FORMATS = (
    PairFormat(("pos_score", "neg_score", *IDS), "scores"),
    PairFormat(("margin", *IDS), "margins"),
    PairFormat(IDS, "labels"),
)


class IdPairs:
    """Files of pairs, all in the format that the first row of the first file shows.

    Args:
        paths: the files, plain or gzip.
        skip_bad: count faulty rows instead of refusing them.
        advice: what to do about faulty rows.

    Attributes:
        format: of all files.
        supervision: what they say of a pair.
        faults: of each file; filled while `rows` is read.

    Raises:
        TasbError: the first file's first row is of no known format.
    """

    def __init__(self, paths: Sequence[Path], *, skip_bad: bool, advice: str = MEND_OR_SKIP) -> None:
        self.paths = paths
        self.format = _format_of(paths[0])
        self.supervision: Supervision = self.format.supervision
        self.faults = [RowFaults(path, expected=str(self.format), skip=skip_bad, advice=advice) for path in paths]

    def rows(self, queries: TextLookup, passages: TextLookup, guard: NegativeGuard | None = None) -> Iterator[PairRows]:
        """The pairs whose negatives `guard` keeps, in chunks.

        Raises:
            TasbError: rows that are not of the format, with an id that has no text, or with one passage on both sides.
        """
        numbers = len(self.format.columns) - len(IDS)
        for path, faults in zip(self.paths, self.faults, strict=True):
            for chunk in read_rows(path, numbers=numbers, strings=len(IDS), faults=faults):
                rows = _with_texts(chunk, queries, passages, faults)
                yield rows.only(guard.keep(rows.queries, rows.negatives)) if guard else rows


def _format_of(path: Path) -> PairFormat:
    columns = len(first_row(path))
    for format_ in FORMATS:
        if len(format_.columns) == columns:
            return format_
    raise TasbError(
        where=f"{path}:1",
        expected="a row of " + ", or ".join(map(str, FORMATS)),
        found=f"{columns} column{'' if columns == 1 else 's'} between tabs" if columns else "an empty file",
        do="check that this is a file of pairs by ids; pairs by texts go with `tasb data pairs --triples`",
    )


def _with_texts(chunk: RowChunk, queries: TextLookup, passages: TextLookup, faults: RowFaults) -> PairRows:
    lookups = (queries, passages, passages)
    indices = np.stack([lookup.indices(ids) for lookup, ids in zip(lookups, chunk.columns, strict=True)])
    good = (indices >= 0).all(axis=0) & (indices[1] != indices[2])
    if not good.all():
        bad = np.flatnonzero(~good)
        found = []
        for row in bad[:FAULTS_SHOWN].tolist():
            without_text = indices[:, row] < 0
            column = int(np.argmax(without_text)) if without_text.any() else 1
            name = f"{'passage' if column else 'query'} {chunk.columns[column].string(row)}"
            wrong = "has no text" if without_text.any() else "is the positive and the negative"
            found.append((int(chunk.lines[row]), f"{name} {wrong}"))
        faults.add(found, len(bad), up_to=int(chunk.lines[-1]))
        indices = indices[:, good]
    query, positive, negative = indices
    return PairRows(query, positive, negative, chunk.numbers[good])
