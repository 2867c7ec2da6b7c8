"""Runs from columns to files: TREC's six columns, or MS MARCO's three."""

from __future__ import annotations

import contextlib
import functools
import gzip
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from pyserini_tasb.artifacts import whole_file
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.lines import columns_of
from pyserini_tasb.formats.text_columns import decimal_texts, unpack
from pyserini_tasb.workers import InOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.formats.run_reader import RunFormat
    from pyserini_tasb.formats.run_table import RunTable

    Texts = NDArray[np.bytes_]


# Of a run of 200 MB the default, 9, makes a file 1% smaller in five times the time.
_GZIP_LEVEL = 6


def write_run_tables(path: Path, tables: Iterable[RunTable], tag: str, *, form: RunFormat = "trec") -> int:
    """Write tables of different queries as one run, gzip if named `….gz`; return the number of hits.

    The text is that of `evaluate.write_run`. `path` is replaced only once everything is on disk.

    Args:
        path: the file; its folder must exist.
        tables: in the order in which they are to stand.
        tag: TREC's last column.
        form: MS MARCO's has no scores and no tag.

    Raises:
        TasbError: the tag is no column, a score is not finite, there is no hit at all, or the disk refuses. Whatever
            stood at `path` before is still there.
    """
    if columns_of(tag) != [tag]:
        raise _not_written(path, "a tag without white space", f"{tag!r}", "choose another --tag")
    hits = 0
    with whole_file(path) as file, _compressed(path, file) as target:
        blocks = tables if isinstance(tables, InOrder) else InOrder(_itself, tables)
        for count, lines in blocks.then(_formatter(path, tag, form)):
            target.write(lines)
            hits += count
        if not hits:
            raise _not_written(path, "at least one document", "none", "check that the runs share topics")
    return hits


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


def _formatter(path: Path, tag: str, form: RunFormat) -> Callable[[RunTable], tuple[int, bytes]]:
    def lines_of(table: RunTable) -> tuple[int, bytes]:
        if not np.isfinite(table.scores).all():
            raise _not_written(path, "finite scores", "numbers too large for float64", "choose smaller weights")
        lines = _trec_lines(table, tag) if form == "trec" else _msmarco_lines(table)
        return len(table.scores), lines

    return lines_of


def _trec_lines(table: RunTable, tag: str) -> bytes:
    return _joined(
        _repeated([f"{qid} Q0 " for qid in table.qids], table.lengths),
        unpack(table.docids),
        _ranks(" {} ", table.lengths),
        decimal_texts(table.scores),
        np.array([f" {tag}\n".encode()]),
    )


def _msmarco_lines(table: RunTable) -> bytes:
    return _joined(
        _repeated([f"{qid}\t" for qid in table.qids], table.lengths),
        unpack(table.docids),
        _ranks("\t{}\n", table.lengths),
    )


def _joined(*columns: Texts) -> bytes:
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
