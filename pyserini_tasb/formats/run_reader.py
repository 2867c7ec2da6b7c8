"""Blocks of a run's lines to columns, where every line has the same shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

import numpy as np

from pyserini_tasb.formats.lines import columns_of, open_lines
from pyserini_tasb.formats.named import run_file
from pyserini_tasb.formats.run_table import RunTable, query_blocks
from pyserini_tasb.formats.runs import read_msmarco_run, read_run
from pyserini_tasb.formats.text_columns import PackedText, differs_from_row_before, read_decimals, widened
from pyserini_tasb.workers import InOrder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


# --------
# Runs from files to columns: TREC's six columns, or MS MARCO's three.

RunFormat = Literal["trec", "msmarco"]
_MIXED = np.uint64(0x9E3779B97F4A7C15)


def load_run_table(name: str | Path, *, remove_query: bool = False) -> RunTable:
    """A run from a TREC or MS MARCO file, or a bundled one (`dl19-passage.tasb`).

    Args:
        name: the file's path, or the bundled run's name.
        remove_query: as in `read_run_table`.

    Raises:
        TasbError: nothing by that name or path, or a faulty file.
    """
    return read_run_table(run_file(name), remove_query=remove_query)


def read_run_table(path: Path, *, remove_query: bool = False) -> RunTable:
    """Read a run, plain, gzip or Zstandard; three columns in the first line are MS MARCO's, whose score is 1 / rank.

    Args:
        path: the file.
        remove_query: read the file as if it had no line whose docid is the query's id; ranks are counted without it.

    Raises:
        TasbError: as `read_run` and `read_msmarco_run`, of which this is the fast form.
    """
    is_msmarco = _has_three_columns(path) if path.is_file() else False
    table = _read(path, is_msmarco=is_msmarco)
    return table.without_own_documents(by_rank=is_msmarco) if remove_query else table


def _read(path: Path, *, is_msmarco: bool) -> RunTable:
    # A pipe can be read but once.
    if path.is_file():
        try:
            return _read_blocks(path, MSMARCO if is_msmarco else TREC)
        except IrregularLinesError:
            pass
    # Line by line: it names what is faulty, and takes what is merely unusual, such as lines that end as on Windows.
    return RunTable.from_run(read_msmarco_run(path) if is_msmarco else read_run(path), name=str(path))


def _has_three_columns(path: Path) -> bool:
    with open_lines(path) as lines:
        first = next((line for line in lines if line.strip()), "")
    try:
        return len(columns_of(first)) == MSMARCO.columns
    except ValueError:
        return False


def _read_blocks(path: Path, form: LineFormat) -> RunTable:
    with open_lines(path) as lines:
        blocks = list(InOrder(lambda block: parse_block(block, form), blocks_of(cast("BinaryIO", lines.buffer))))
    if not blocks:
        raise IrregularLinesError
    table = _joined(blocks)
    _require_no_repetition(table)
    return table.ranked()


def _joined(blocks: list[LineBlock]) -> RunTable:
    qids: list[str] = []
    counts: list[int] = []
    for block in blocks:
        goes_on = bool(qids) and qids[-1] == block.qids[0]
        if goes_on:
            counts[-1] += int(block.counts[0])
        qids += block.qids[goes_on:]
        counts += block.counts[int(goes_on) :].tolist()
    if len(set(qids)) < len(qids):  # a query whose lines are not together
        raise IrregularLinesError
    width = max(block.docids.shape[1] for block in blocks)
    return RunTable(
        tuple(qids),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([widened(block.docids, width) for block in blocks]),
        np.concatenate([block.scores for block in blocks]),
    )


def _require_no_repetition(table: RunTable) -> None:
    """No document twice for one query. Equal hashes of different ones are taken for one: then lines are read singly."""

    def repeats(block: tuple[int, int]) -> bool:
        first, last = block
        queries = np.repeat(np.arange(first, last, dtype=np.uint64), table.lengths[first:last])
        hashes = _hashes(queries, table.docids[table.starts[first] : table.starts[last]])
        hashes.sort()
        return bool((hashes[1:] == hashes[:-1]).any())

    if any(InOrder(repeats, query_blocks(table.lengths))):
        raise IrregularLinesError


def _hashes(queries: NDArray[np.uint64], docids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = queries
    for word in range(docids.shape[1]):
        mixed = (mixed ^ docids[:, word]) * _MIXED
        mixed ^= mixed >> np.uint64(29)
    return mixed
