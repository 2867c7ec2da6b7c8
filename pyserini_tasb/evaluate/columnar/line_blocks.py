"""Blocks of a run's lines to columns, where every line has the same shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.columnar.decimal_reading import read_decimals
from pyserini_tasb.evaluate.columnar.packed_text import PackedText

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

BLOCK_BYTES = 1 << 19  # whose columns the processor's cache holds
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = ord(" ")


@dataclass(frozen=True)
class LineFormat:
    """Where in a line the columns are, counted from 0."""

    columns: int
    docid: int
    number: int
    number_is_rank: bool


TREC = LineFormat(columns=6, docid=2, number=4, number_is_rank=False)
MSMARCO = LineFormat(columns=3, docid=1, number=2, number_is_rank=True)


class IrregularLinesError(Exception):
    """Something that has to be read line by line: perhaps a fault, perhaps only a blank line."""


@dataclass(frozen=True, eq=False)
class LineBlock:
    """Some lines of a run, in the order of the file.

    Attributes:
        qids: each where it begins.
        counts: rows of each of `qids`.
        docids: [rows, words], packed.
        scores: [rows]
    """

    qids: list[str]
    counts: NDArray[np.int64]
    docids: NDArray[np.uint64]
    scores: NDArray[np.float64]


def blocks_of(file: BinaryIO) -> Iterator[bytes]:
    """The file in pieces that end with a line."""
    begun = file.read(len(_BYTE_ORDER_MARK))
    begun = b"" if begun == _BYTE_ORDER_MARK else begun
    while read := file.read(BLOCK_BYTES):
        end = read.rfind(b"\n") + 1
        if end:
            yield begun + read[:end]
            begun = read[end:]
        else:
            begun += read
    if begun:
        yield begun if begun.endswith(b"\n") else begun + b"\n"


def parse_block(lines: bytes, form: LineFormat) -> LineBlock:
    """The columns of lines that each end with a line feed.

    Raises:
        IrregularLinesError: not all lines are columns with one space or tab between two, or a number is none.
    """
    text = PackedText(lines)
    ends = _column_ends(text, lines, form.columns)
    starts = np.empty_like(ends)
    starts[:, 1:] = ends[:, :-1] + 1
    starts[0, 0] = 0
    starts[1:, 0] = ends[:-1, -1] + 1
    number_starts, number_ends = starts[:, form.number].copy(), ends[:, form.number].copy()
    numbers, read = read_decimals(text, number_starts, number_ends)
    for row in np.flatnonzero(~read).tolist():
        numbers[row] = _number(lines[number_starts[row] : number_ends[row]])
    if form.number_is_rank:
        if not ((numbers >= 1) & (numbers == np.floor(numbers))).all():
            raise IrregularLinesError
        numbers = 1 / numbers
    qids = text.columns(starts[:, 0].copy(), ends[:, 0].copy())
    first = np.flatnonzero(np.concatenate([[True], (qids[1:] != qids[:-1]).any(axis=1)]))
    return LineBlock(
        [lines[start:end].decode() for start, end in zip(starts[first, 0], ends[first, 0], strict=True)],
        np.diff(first, append=len(numbers)),
        text.columns(starts[:, form.docid].copy(), ends[:, form.docid].copy()),
        numbers,
    )


def _column_ends(text: PackedText, lines: bytes, columns: int) -> NDArray[np.int64]:
    """Where each column ends, shape (lines, columns)."""
    characters = text.characters[: len(lines)]
    ends = np.flatnonzero(characters <= _SPACE)
    rows = np.count_nonzero(characters == ord("\n"))
    known = rows + np.count_nonzero(characters == ord(" ")) + np.count_nonzero(characters == ord("\t"))
    if len(ends) != rows * columns or known != len(ends) or ends[0] == 0 or np.diff(ends).min(initial=2) < 2:
        raise IrregularLinesError
    if (characters[ends[columns - 1 :: columns]] != ord("\n")).any():
        raise IrregularLinesError
    if not lines.isascii():
        try:
            lines.decode()
        except UnicodeDecodeError as error:
            raise IrregularLinesError from error
    return ends.reshape(rows, columns)


def _number(text: bytes) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise IrregularLinesError from error
    if not math.isfinite(number) or b"_" in text:
        raise IrregularLinesError
    return number
