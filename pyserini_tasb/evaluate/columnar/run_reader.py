"""Runs from files to columns: TREC's six columns, or MS MARCO's three."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Literal, cast

import numpy as np

from pyserini_tasb.evaluate.columnar.in_order import InOrder
from pyserini_tasb.evaluate.columnar.line_blocks import (
    MSMARCO,
    TREC,
    IrregularLinesError,
    LineBlock,
    LineFormat,
    blocks_of,
    parse_block,
)
from pyserini_tasb.evaluate.columnar.packed_text import widened
from pyserini_tasb.evaluate.columnar.run_table import RunTable, query_blocks
from pyserini_tasb.evaluate.line_files import columns_of, open_lines
from pyserini_tasb.evaluate.msmarco_run import read_msmarco_run
from pyserini_tasb.evaluate.resolver import run_file
from pyserini_tasb.evaluate.runs import read_run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

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
