"""Blocks of a run's lines to columns, where every line has the same shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.evaluate.columnar.decimal_reading import read_decimals
from pyserini_tasb.evaluate.columnar.packed_text import PackedText, differs_from_row_before

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

# Smaller ones would fit into a processor's cache, but threads would wait for the interpreter half of the time.
BLOCK_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE, _TAB, _LINE_FEED = b" \t\n"


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
    line_starts = np.concatenate([[0], ends[:-1, -1] + 1])
    number_starts, number_ends = ends[:, form.number - 1] + 1, ends[:, form.number].copy()
    numbers, read = read_decimals(text, number_starts, number_ends)
    for row in np.flatnonzero(~read).tolist():
        numbers[row] = _number(lines[number_starts[row] : number_ends[row]])
    if form.number_is_rank:
        if not ((numbers >= 1) & (numbers == np.floor(numbers))).all():
            raise IrregularLinesError
        numbers = 1 / numbers
    first = np.flatnonzero(differs_from_row_before(text.columns(line_starts, ends[:, 0].copy())))
    return LineBlock(
        [lines[start:end].decode() for start, end in zip(line_starts[first], ends[first, 0], strict=True)],
        np.diff(first, append=len(numbers)),
        text.columns(ends[:, form.docid - 1] + 1, ends[:, form.docid].copy()),
        numbers,
    )


def _column_ends(text: PackedText, lines: bytes, columns: int) -> NDArray[np.int64]:
    """Where each column ends, shape (lines, columns)."""
    characters = text.characters[: len(lines)]
    is_end = characters <= _SPACE
    ends = np.flatnonzero(is_end)
    if len(ends) % columns or is_end[0] or (is_end[1:] & is_end[:-1]).any():
        raise IrregularLinesError
    rows = len(ends) // columns
    spaces = np.count_nonzero(characters == _SPACE)
    if spaces + rows < len(ends):
        spaces += np.count_nonzero(characters == _TAB)
    # So many lie between columns; what is left are line feeds, one behind each last column.
    if spaces + rows != len(ends) or (characters[ends[columns - 1 :: columns]] != _LINE_FEED).any():
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
