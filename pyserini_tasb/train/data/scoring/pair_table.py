"""The rows of files of pairs, and the distinct (query, passage) among them, which is what a model scores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pyserini_tasb.texts.text_lookup import TextLookup
from pyserini_tasb.train.store.agreement import Agreement
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.texts.text_store import TextStore
    from pyserini_tasb.train.data.id_pairs import IdPairs

ROWS_AT_ONCE = 65_536
QUERY_BITS = 32  # a store numbers its texts with as many


@dataclass(frozen=True)
class Margins:
    """The positives' scores less the negatives'.

    Args:
        mean: over all rows.
        deviation: standard deviation over all rows.
        agreement: with the rows' labels.
    """

    mean: float
    deviation: float
    agreement: Agreement


class PairTable:
    """Rows of (query, positive, negative) in the files' order. Some 50 bytes of memory a row while they are read.

    Args:
        pairs: the files.
        queries: the queries' texts.
        passages: the passages' texts.

    Attributes:
        rows: uint64 [rows, 2] of each row (query, positive) and (query, negative), each as one number.
        distinct: uint64 [distinct] those that occur, sorted by passage, then query.

    Raises:
        TasbError: faulty rows, or ids without text; all are named.
    """

    def __init__(self, pairs: IdPairs, queries: TextStore, passages: TextStore) -> None:
        self._queries, self._passages = queries, passages
        chunks = [
            _keys(rows.queries, np.stack([rows.positives, rows.negatives]))
            for rows in pairs.rows(TextLookup(queries), TextLookup(passages))
        ]
        self.rows: NDArray[np.uint64] = np.concatenate(chunks)
        self.distinct: NDArray[np.uint64] = np.unique(self.rows)

    def query_rows(self, window: slice) -> NDArray[np.int64]:
        """[window] indices of the distinct pairs' queries."""
        return _queries_of(self.distinct[window])

    def passage_rows(self, window: slice) -> NDArray[np.int64]:
        """[window] indices of the distinct pairs' passages."""
        return _passages_of(self.distinct[window])

    def ids(self, pair: int) -> tuple[str, str]:
        """The ids of a distinct pair's query and passage."""
        one = slice(pair, pair + 1)
        return self._queries.ids(self.query_rows(one))[0], self._passages.ids(self.passage_rows(one))[0]

    def digest(self) -> str:
        """Of the distinct pairs. They are numbers of texts: compare it only where the texts are the same."""
        return hashlib.sha256(self.distinct.data).hexdigest()

    def write(self, path: Path, scores: NDArray[np.float32], check: Callable[[Agreement], None]) -> Margins:
        """Write `pos_score TAB neg_score TAB qid TAB pos_pid TAB neg_pid` for each row.

        Scores have the fewest digits that read back as the same float32.

        Args:
            path: the file; it is there only once it is whole.
            scores: [distinct] of the distinct pairs.
            check: is called with the agreement before the file is put in place; an error from it leaves no file.

        Raises:
            TasbError: the file cannot be written.
        """
        mean = squares = 0.0
        agreement = Agreement()
        with whole_text_file(path) as file, tqdm(total=len(self.rows), desc=f"write {path.name}", unit=" rows") as bar:
            for start in range(0, len(self.rows), ROWS_AT_ONCE):
                keys = self.rows[start : start + ROWS_AT_ONCE]
                found = scores[np.searchsorted(self.distinct, keys)]
                upper, lower = ([str(score) for score in column] for column in found.T)
                qids = self._queries.ids(_queries_of(keys[:, 0]))
                positives, negatives = (self._passages.ids(_passages_of(column)) for column in keys.T)
                file.writelines(map("{}\t{}\t{}\t{}\t{}\n".format, upper, lower, qids, positives, negatives))
                margins = np.subtract(*found.T.astype(np.float64))
                # Chan, Golub, LeVeque 1979: no difference of two large sums.
                share = len(keys) / (start + len(keys))
                offset = float(margins.mean()) - mean
                mean += offset * share
                squares += float(margins.var()) * len(keys) + offset**2 * start * share
                agreement += Agreement.of(margins)
                bar.update(len(keys))
            check(agreement)
        return Margins(mean, float(np.sqrt(squares / len(self.rows))), agreement)


def _keys(queries: NDArray[np.integer], passages: NDArray[np.integer]) -> NDArray[np.uint64]:
    """[rows, columns] of queries [rows] and passages [columns, rows]."""
    return (passages.astype(np.uint64) << np.uint64(QUERY_BITS) | queries.astype(np.uint64)).T


def _queries_of(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (keys & np.uint64((1 << QUERY_BITS) - 1)).astype(np.int64)


def _passages_of(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (keys >> np.uint64(QUERY_BITS)).astype(np.int64)
