"""Pairs by texts: query, positive and negative in one row, with or without the teacher's two scores before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.line_files import FAULTS_SHOWN
from pyserini_tasb.train.data.mining.false_negatives import same_texts
from pyserini_tasb.train.data.row_faults import RowFaults
from pyserini_tasb.train.data.row_files import first_row, read_rows
from pyserini_tasb.train.store.row_spool import PairRows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyserini_tasb.train.data.row_files import RowChunk
    from pyserini_tasb.train.data.text_pool import TextPool
    from pyserini_tasb.train.store.pair_store import Supervision

TEXTS = ("query", "positive", "negative")
SCORES = ("pos_score", "neg_score")
SUPERVISION: dict[int, Supervision] = {len(TEXTS): "labels", len(SCORES + TEXTS): "scores"}


class TextTriples:
    """A file of text triples.

    Args:
        path: the file, plain or gzip.
        skip_bad: count faulty rows instead of refusing them.
        keep_query: keep a negative that has the query's text.

    Attributes:
        columns: what the first row shows.
        supervision: what they say of a pair.
        faults: filled while `rows` is read.
        query_itself: rows left out because the negative has the query's text; filled while `rows` is read.

    Raises:
        TasbError: the first row has another number of columns.
    """

    def __init__(self, path: Path, *, skip_bad: bool, keep_query: bool = False) -> None:
        self.path, self._keep_query = path, keep_query
        self.query_itself = 0
        found = len(first_row(path))
        if found not in SUPERVISION:
            raise TasbError(
                where=f"{path}:1",
                expected=f"a row of {' TAB '.join(TEXTS)}, or of {' TAB '.join(SCORES + TEXTS)}",
                found=f"{found} column{'' if found == 1 else 's'} between tabs" if found else "an empty file",
                do="check that this is a file of text triples; pairs by ids go with --scored-pairs",
            )
        self.columns = (SCORES + TEXTS)[-found:]
        self.supervision = SUPERVISION[found]
        self.faults = RowFaults(path, expected=" TAB ".join(self.columns), skip=skip_bad)

    def rows(self, queries: TextPool, passages: TextPool) -> Iterator[PairRows]:
        """The pairs, in chunks; their texts go into the pools.

        Raises:
            TasbError: rows that are not of the format, not UTF-8, or whose positive and negative have the same text.
        """
        numbers = len(self.columns) - len(TEXTS)
        for chunk in read_rows(self.path, numbers=numbers, strings=len(TEXTS), faults=self.faults):
            texts, good = self._texts(chunk)
            query_texts, positive_texts, negative_texts = texts
            indices = passages.add(positive_texts + negative_texts)
            positives, negatives = np.split(indices, 2)
            yield PairRows(queries.add(query_texts), positives, negatives, chunk.numbers[good])

    def _texts(self, chunk: RowChunk) -> tuple[list[list[bytes]], list[int]]:
        """The three columns of the rows that are right and stay, and which rows these are."""
        queries, positives, negatives = chunk.columns
        same = same_texts(positives, negatives).tolist()
        is_query = [False] * len(same) if self._keep_query else same_texts(queries, negatives).tolist()
        columns: list[list[bytes]] = [[], [], []]
        good, found = [], []
        for row, fields in enumerate(zip(*(span.strings() for span in chunk.columns), strict=True)):
            try:
                texts = [field.decode().strip().encode() for field in fields]
            except UnicodeDecodeError:
                found.append((int(chunk.lines[row]), "not UTF-8"))
                continue
            if not all(texts):
                found.append((int(chunk.lines[row]), "an empty text"))
                continue
            if same[row]:
                found.append((int(chunk.lines[row]), "positive and negative have the same text"))
                continue
            if is_query[row]:
                self.query_itself += 1
                continue
            good.append(row)
            for column, text in zip(columns, texts, strict=True):
                column.append(text)
        if found:
            self.faults.add(found[:FAULTS_SHOWN], len(found), up_to=int(chunk.lines[-1]))
        return columns, good
