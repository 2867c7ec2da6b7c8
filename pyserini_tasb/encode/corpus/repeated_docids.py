"""Docids that several passages of a corpus have, found with 8 bytes of memory for each passage."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.texts.byte_spans import Spans
from pyserini_tasb.texts.text_writer import FAULTS_SHOWN, RepeatedIdsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pyserini_tasb.encode.corpus.corpus import Corpus
    from pyserini_tasb.texts.collections import Mark

AT_ONCE = 4096


class RepeatedDocids:
    """Collects the hashes of docids; which of them are really equal takes a second look at the corpus."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.uint64]] = []

    def add(self, docids: Sequence[str]) -> None:
        """Note docids."""
        self._chunks.append(_hashes(docids))

    def require_none(self, corpus: Corpus, source: str) -> None:
        """Once all are noted: refuse docids that are there twice. The corpus is read again only if some seem to be.

        Args:
            corpus: which they are of.
            source: what it is, for messages.

        Raises:
            RepeatedIdsError: naming the first 20 and where they are.
        """
        suspects = self._equal_hashes()
        if not len(suspects):
            return
        repeats: list[tuple[str, int, int]] = []
        places: list[str] = []
        count = 0
        for docid, first, later, marks in _repeats(corpus, suspects):
            count += 1
            if len(repeats) < FAULTS_SHOWN:
                repeats.append((docid, first, later))
                places += [corpus.place(mark) for mark in marks]
        if count:
            raise RepeatedIdsError(source, repeats, count, places)

    def _equal_hashes(self) -> NDArray[np.uint64]:
        hashes = np.empty(sum(map(len, self._chunks)), np.uint64)
        end = len(hashes)
        while self._chunks:  # each is freed as it is copied: never twice in memory
            chunk = self._chunks.pop()
            hashes[end - len(chunk) : end] = chunk
            end -= len(chunk)
        hashes.sort()
        return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _repeats(corpus: Corpus, suspects: NDArray[np.uint64]) -> Iterator[tuple[str, int, int, tuple[Mark, Mark]]]:
    """Docid, its first record and a later one (from 1), and the marks of both."""
    firsts: dict[str, tuple[int, Mark]] = {}
    passages, before = corpus.marked(), 0
    while batch := [(mark, docid) for mark, docid, _ in islice(passages, AT_ONCE)]:
        for row in np.flatnonzero(np.isin(_hashes([docid for _, docid in batch]), suspects)).tolist():
            (mark, docid), record = batch[row], before + row + 1
            if docid in firsts:
                first, first_mark = firsts[docid]
                yield docid, first, record, (first_mark, mark)
            else:
                firsts[docid] = (record, mark)
        before += len(batch)


def _hashes(docids: Sequence[str]) -> NDArray[np.uint64]:
    return Spans.of([docid.encode() for docid in docids]).hashes()
