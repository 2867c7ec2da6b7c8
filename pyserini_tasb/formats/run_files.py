"""A run's file, read and written: TREC's six columns or MS MARCO's three, plain or compressed.

Reading is strict, and fast: regular lines become columns in blocks. What is irregular is read line by line, which names
every faulty line, and takes what is merely unusual.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import logging
import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

import numpy as np

from pyserini_tasb.errors import TasbError, argument, printable, shown
from pyserini_tasb.formats.lines import (
    ASCII_SPACE,
    FILES_BY_COLUMNS,
    LONGEST_LINE,
    LineFaults,
    column_lines,
    open_lines,
    read_columns,
    split_columns,
)
from pyserini_tasb.formats.run_table import RunTable, is_one_column, query_blocks
from pyserini_tasb.formats.text_columns import (
    PackedText,
    decimal_texts,
    differs_from_row_before,
    read_decimals,
    unpack,
    widened,
)
from pyserini_tasb.outputs import opened
from pyserini_tasb.workers import InOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.outputs import NewFile

    Texts = NDArray[np.bytes_]


LOG = logging.getLogger(__name__)
RunFormat = Literal["trec", "msmarco"]


def read_run_table(path: Path, *, remove_query: bool = False) -> RunTable:
    """Read a run, compressed or not; three columns in the first line are MS MARCO's, whose score is 1 / rank.

    Args:
        path: the file.
        remove_query: read the file as if it had no line whose docid is the query's id; ranks are counted without it.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty (see `read_run`, `read_msmarco_run`).
    """
    is_msmarco = _has_three_columns(path) if path.is_file() else False
    table = _read(path, is_msmarco=is_msmarco)
    return table.without_own_documents(by_rank=is_msmarco) if remove_query else table


def _read(path: Path, *, is_msmarco: bool) -> RunTable:
    # A pipe can be read but once.
    if path.is_file():
        with contextlib.suppress(IrregularLinesError):
            table = _read_blocks(path, MSMARCO if is_msmarco else TREC)
            if not is_msmarco:
                _note_ranks(path, _of_one_score(table))
            return table
    return RunTable.from_run(read_msmarco_run(path) if is_msmarco else read_run(path), name=str(path))


def _of_one_score(table: RunTable) -> set[str]:
    firsts = table.starts[:-1]
    equal = np.maximum.reduceat(table.scores, firsts) == np.minimum.reduceat(table.scores, firsts)
    return {table.qids[number] for number in np.flatnonzero(equal & (table.lengths > 1)).tolist()}


def _note_ranks(path: Path, of_one_score: set[str]) -> None:
    """Say of how many queries the ranks count for nothing: they contradict the order in which equal scores are ranked.

    Args:
        path: a run in TREC's format.
        of_one_score: queries of which all documents have the same score.
    """
    if not of_one_score or not path.is_file():
        return
    ranked: dict[str, list[tuple[int, str]]] = {}
    with open_lines(path) as lines:
        for line in lines:
            columns = split_columns(line)
            if columns and columns[0] in of_one_score and columns[3].isdecimal():
                ranked.setdefault(columns[0], []).append((int(columns[3]), columns[2]))
    contradicted = 0
    for hits in ranked.values():
        by_score = sorted((docid for _, docid in hits), reverse=True)
        different_ranks = len({rank for rank, _ in hits}) == len(hits)
        contradicted += different_ranks and [docid for _, docid in sorted(hits)] != by_score
    if contradicted:
        LOG.info(
            "%s: the ranks of %d %s are ignored, because all their scores are equal: documents with equal scores are "
            "ranked by docid, descending, as in trec_eval",
            *(path, contradicted, "query" if contradicted == 1 else "queries"),
        )


def _has_three_columns(path: Path) -> bool:
    with open_lines(path) as lines:
        first = next((line for line in column_lines(lines) if line.strip()), "")
    try:
        return len(split_columns(first)) == MSMARCO.columns
    except ValueError:
        return False


def _read_blocks(path: Path, form: LineFormat) -> RunTable:
    with open_lines(path) as lines:
        blocks = list(InOrder(lambda block: parse_block(block, form), line_blocks(cast("BinaryIO", lines.buffer))))
    if not blocks:
        raise IrregularLinesError
    table = _one_table(blocks)
    _require_no_repetition(table)
    return table.ranked()


def _one_table(blocks: list[LineBlock]) -> RunTable:
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


# Smaller blocks would fit into a processor's cache, but threads would wait for the interpreter half of the time.
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


_MIXED = np.uint64(0x9E3779B97F4A7C15)


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


def line_blocks(file: BinaryIO) -> Iterator[bytes]:
    """The file in pieces that end with a line.

    Raises:
        IrregularLinesError: a line is longer than a line of columns can be.
    """
    begun = file.read(len(_BYTE_ORDER_MARK))
    begun = b"" if begun == _BYTE_ORDER_MARK else begun
    while read := file.read(BLOCK_BYTES):
        end = read.rfind(b"\n") + 1
        if end:
            yield begun + read[:end]
        begun = read[end:] if end else begun + read
        if len(begun) > LONGEST_LINE:
            raise IrregularLinesError
    if begun:
        yield begun if begun.endswith(b"\n") else begun + b"\n"


def parse_block(lines: bytes, form: LineFormat) -> LineBlock:
    """The columns of lines that each end with a line feed.

    Raises:
        IrregularLinesError: not all lines are columns with one space or tab between two, a number is none, or a line
            is too long.
    """
    text = PackedText(lines)
    ends = _column_ends(text, lines, form.columns)
    line_starts = np.concatenate([[0], ends[:-1, -1] + 1])
    if (ends[:, -1] - line_starts).max() >= LONGEST_LINE:  # the widest docid decides how much memory all of them take
        raise IrregularLinesError
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


_WRONG_COLUMNS = {
    3: " (an MS MARCO run? `python -m pyserini.eval.convert_msmarco_run_to_trec_run` makes a TREC run of it)",
    4: FILES_BY_COLUMNS[4],
    7: " (white space in a docid or in the tag?)",
}


def read_run(path: Path) -> RunDict:
    """Read a run, plain or gzip. Ids stay strings; the rank column is ignored, as trec_eval does.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not six columns, a score that is no
            finite number, a document twice for one query, not UTF-8, too long. All are named.
    """
    run: RunDict = {}
    faults = LineFaults(path, expected="6 columns: qid Q0 docid rank score tag")
    qid_before = None
    ranking: dict[str, float] = {}
    with open_lines(path) as lines:
        # A dev run has 7 million lines, so what is wrong with a line is worked out only once something is.
        for number, line in enumerate(column_lines(lines), 1):
            try:
                qid, _, docid, _, score_text, _ = split_columns(line)
                score = float(score_text)
            except ValueError:
                if line.strip(ASCII_SPACE):
                    faults.add(number, _what_is_wrong(line))
                continue
            if qid != qid_before:
                ranking = run.setdefault(qid, {})
                qid_before = qid
            if docid in ranking:
                faults.add(number, f"document {docid} a second time for query {qid}")
            elif not math.isfinite(score) or "_" in score_text:  # float() takes 1_0 for 10
                faults.add(number, _what_is_wrong(line))
            else:
                ranking[docid] = score
    faults.finish(records=len(run))
    _note_ranks(path, {qid for qid, ranking in run.items() if len(ranking) > 1 and len({*ranking.values()}) == 1})
    return run


def _what_is_wrong(line: str) -> str:
    try:
        columns = split_columns(line)
    except ValueError as error:
        return str(error)
    if len(columns) != 6:
        return f"{len(columns)} columns{_WRONG_COLUMNS.get(len(columns), '')}"
    return f"score {columns[4]!r} is not a finite number"


_RANK = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


def read_msmarco_run(path: Path) -> RunDict:
    """Read a run of `qid docid rank` lines; a document's score is 1 / rank, as Pyserini's converter has it.

    Raises:
        TasbError: the file cannot be read or is empty, or lines are faulty: not three columns, a rank that is no
            integer from 1 on, a document twice for one query, not UTF-8, too long. All are named.
    """
    run: RunDict = {}
    faults = read_columns(path, partial(_add_hit, run), expected="3 columns: qid docid rank")
    faults.finish(records=len(run))
    return run


def _add_hit(run: RunDict, columns: list[str]) -> None:
    if len(columns) != 3:
        raise ValueError(f"{len(columns)} columns")
    qid, docid, rank = columns
    if not _RANK.fullmatch(rank):
        raise ValueError(f"rank {rank!r} is not an integer of 1 or more")
    ranking = run.setdefault(qid, {})
    if docid in ranking:
        raise ValueError(f"document {docid} a second time for query {qid}")
    ranking[docid] = 1 / int(rank)


# Of a run of 200 MB the default, 9, makes a file 1% smaller in five times the time.
_GZIP_LEVEL = 6


def write_run(
    output: Path | NewFile, tables: Iterable[RunTable], tag: str, *, output_format: RunFormat = "trec"
) -> int:
    """Write tables of different queries as one run, gzip if named `….gz`; return the number of hits.

    The same run gives the same bytes, and scores read back are equal to those written (float64). An old file is
    replaced only once everything is on disk. (trec_eval keeps scores as float32: those that differ by less are ties to
    it.)

    Args:
        output: the file, whose folder must exist; or one of `new_file`, whose block puts it in its place.
        tables: the hits, in their final order.
        tag: TREC's last column.
        output_format: MS MARCO's has no scores and no tag.

    Raises:
        TasbError: the tag is no column, a score is not finite, there is no hit at all, or the disk refuses. Whatever
            stood there before is there still.
    """
    return sum(len(table.scores) for table in written_tables(output, tables, tag, output_format=output_format))


def written_tables(
    output: Path | NewFile, tables: Iterable[RunTable], tag: str, *, output_format: RunFormat = "trec"
) -> Iterator[RunTable]:
    """Write a run as `write_run` does, and yield each table once it is written; the run is there after the last."""
    path = output if isinstance(output, Path) else output.path
    if not is_one_column(tag) or printable(tag) != tag:
        expected = "a tag of one word, without characters that control a terminal"
        raise _not_written(path, expected, shown(tag), f"choose another {argument('tag')}")
    hits = 0
    with opened(output) as file, _compressed(path, file) as target:
        # What makes a table formats it too: `fuse` and its writing share the cores.
        blocks = tables if isinstance(tables, InOrder) else InOrder(_itself, tables)
        for table, lines in blocks.then(_formatter(path, tag, output_format)):
            target.write(lines)
            hits += len(table.scores)
            yield table
        if not hits:
            raise _not_written(path, "at least one document", "none", "check that the runs share topics")


@contextlib.contextmanager
def _compressed(path: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    if not path.name.endswith(".gz"):
        yield file
        return
    # Neither a file name nor a time in the header: same run, same bytes.
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0) as compressed:
        yield cast("BinaryIO", compressed)


def _itself(table: RunTable) -> RunTable:
    return table


def _formatter(path: Path, tag: str, output_format: RunFormat) -> Callable[[RunTable], tuple[RunTable, bytes]]:
    def formatted(table: RunTable) -> tuple[RunTable, bytes]:
        if not np.isfinite(table.scores).all():
            raise _not_written(path, "finite scores", "numbers too large for float64", "choose smaller weights")
        lines = _trec_lines(table, tag) if output_format == "trec" else _msmarco_lines(table)
        return table, lines

    return formatted


def _trec_lines(table: RunTable, tag: str) -> bytes:
    return _lines(
        _repeated([f"{qid} Q0 " for qid in table.qids], table.lengths),
        unpack(table.docids),
        _ranks(" {} ", table.lengths),
        decimal_texts(table.scores),
        np.array([f" {tag}\n".encode()]),
    )


def _msmarco_lines(table: RunTable) -> bytes:
    return _lines(
        _repeated([f"{qid}\t" for qid in table.qids], table.lengths),
        unpack(table.docids),
        _ranks("\t{}\n", table.lengths),
    )


def _lines(*columns: Texts) -> bytes:
    """Rows of texts, the last perhaps the same for all, without the zeros that fill them up."""
    lines = np.empty(len(columns[0]), dtype=[(str(number), texts.dtype) for number, texts in enumerate(columns)])
    for number, texts in enumerate(columns):
        lines[str(number)] = texts
    return lines.tobytes().translate(None, b"\0")


def _repeated(texts: list[str], counts: NDArray[np.int64]) -> Texts:
    return np.repeat(np.array([text.encode() for text in texts], dtype=np.bytes_), counts)


def _ranks(template: str, counts: NDArray[np.int64]) -> Texts:
    """From 1 on for each query."""
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    # Lists of many lengths share a few tables.
    return _rank_texts(template, 1 << int(counts.max(initial=0)).bit_length()).take(places)


@functools.lru_cache(maxsize=4)
def _rank_texts(template: str, deepest: int) -> Texts:
    return np.array([template.format(rank).encode() for rank in range(1, deepest + 1)], dtype=np.bytes_)


def _not_written(path: Path, expected: str, found: str, do: str) -> TasbError:
    return TasbError(where=f"{path} (not written)", expected=expected, found=found, do=do)
