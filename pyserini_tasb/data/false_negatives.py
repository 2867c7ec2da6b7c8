"""The guard against false negatives: candidates that are relevant, or too likely to be, are no negatives."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.data.pair_builder import passage_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.formats.arrays import Spans
    from pyserini_tasb.formats.text_store import Texts, TextStore


# Chinese characters and Japanese kana stand without spaces; each counts as a word.
WORD_CHARACTER = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
# Cranfield, CISI, Vaswani and Medline number queries and documents independently: where a query's number is that of a
# document, at most 64 % of the query's words are in it.
SHARE_OF_WORDS = 0.9
CHUNK = 1 << 18
FIRST_BYTES = 4
_COMPARED_WORD = re.compile(rf"{WORD_CHARACTER}|(?:(?!{WORD_CHARACTER})\w)+")
# A byte that is a whole character in one letter case only, in lower case; 0 for white space and all else.
_LETTERS = np.array([byte + 32 * (65 <= byte <= 90) if 33 <= byte <= 126 else 0 for byte in range(256)], np.uint8)


def text_digest(text: str) -> int:
    """64 bits that are equal for texts which differ in white space and letter case only; never 0."""
    normalised = " ".join(text.split()).casefold()
    return int.from_bytes(blake2b(normalised.encode(), digest_size=8).digest(), "little") or 1


class PassageDigests:
    """Digests of the passages' texts: equal for texts that are the same apart from white space and letter case.

    A digest is computed when it is first asked for: 8 bytes are kept for each passage of the collection.

    Args:
        passages: the collection.
    """

    def __init__(self, passages: Texts) -> None:
        self._passages = passages
        self._digests = np.zeros(len(passages), dtype=np.uint64)

    def same_text(self, candidates: NDArray[np.int64], positives: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[candidates] True where a candidate's text is that of one of the positives; both are passages by index."""
        return np.isin(self.digests(candidates), self.digests(positives))

    def digests(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """[rows] digests of the texts at these indices."""
        new = np.unique(rows[self._digests[rows] == 0])
        self._digests[new] = [text_digest(text) for text in self._passages.texts(new)]
        return self._digests[rows]


class QueryItself:
    """Finds passages that are their query: ArguAna, Quora and CQADupStack take queries from the collection.

    A passage is the query if it has the query's text, apart from white space and letter case; or if it has the query's
    id and at least 90 % of its words. Equal ids by themselves say nothing.

    Memory: 16 bytes for each query and 4 for each passage, and a digest of 8 for each text whose first letters are
    those of the other side's.

    Args:
        queries: texts with ids.
        passages: texts with ids.
    """

    def __init__(self, queries: TextStore, passages: TextStore) -> None:
        self._queries, self._passages = queries, passages
        self._digests = PassageDigests(queries), PassageDigests(passages)
        self._letters = tuple(_letters(texts.first_bytes(FIRST_BYTES)) for texts in (queries, passages))
        numbers = (np.arange(start, min(start + CHUNK, len(queries))) for start in range(0, len(queries), CHUNK))
        # [queries] the passage with the query's id, or -1.
        self._same_id = np.concatenate([np.zeros(0, np.int64), *(passages.indices(queries.ids(n)) for n in numbers)])

    def found(self, queries: NDArray[np.integer], passages: NDArray[np.integer]) -> NDArray[np.bool_]:
        """[rows] True where the passage is the row's query."""
        found = np.zeros(len(queries), np.bool_)
        ours, theirs = (letters[rows] for letters, rows in zip(self._letters, (queries, passages), strict=True))
        suspects = np.flatnonzero(~_differ(ours, theirs))
        of_queries, of_passages = (
            digests.digests(rows[suspects].astype(np.int64))
            for digests, rows in zip(self._digests, (queries, passages), strict=True)
        )
        found[suspects] = of_queries == of_passages
        for row in np.flatnonzero((self._same_id[queries] == passages) & ~found).tolist():
            query, passage = self._queries.text(int(queries[row])), self._passages.text(int(passages[row]))
            found[row] = share_of_words(query, passage) >= SHARE_OF_WORDS
        return found


def share_of_words(query: str, passage: str) -> float:
    """The share of the query's distinct words that are in the passage; letter case does not count."""
    wanted, there = (set(_COMPARED_WORD.findall(text.casefold())) for text in (query, passage))
    return len(wanted & there) / len(wanted) if wanted else 0.0


def same_texts(ones: Spans, others: Spans) -> NDArray[np.bool_]:
    """True where a text equals its partner apart from white space and letter case."""
    same: NDArray[np.bool_] = ~_differ(*(_letters(texts.first_bytes(FIRST_BYTES)) for texts in (ones, others)))
    for row in np.flatnonzero(same).tolist():
        same[row] = text_digest(ones.string(row)) == text_digest(others.string(row))
    return same


def _letters(first_bytes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """[texts] the first four bytes of each, lower-cased; 0 from where a text has white space or more than ASCII."""
    letters = _LETTERS[first_bytes]
    letters[np.logical_or.accumulate(letters == 0, axis=1)] = 0
    return letters.view(np.uint32)[:, 0]


def _differ(ones: NDArray[np.uint32], others: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """True where two texts cannot be the same apart from white space and letter case: a letter of each differs."""
    one, other = ones.view(np.uint8), others.view(np.uint8)
    letters = (one != other) & (one != 0) & (other != 0)
    differ: NDArray[np.bool_] = letters.view(np.uint32) != 0
    return differ


class NegativeGuard:
    """A check of which negatives of a pair store may stay; it counts the others.

    Args:
        queries: texts with ids.
        passages: texts with ids.
        known: indices of queries, and of passages that are relevant to them.
        keep_query: keep a passage that is the query itself.

    Attributes:
        judged: negatives that are relevant.
        query_itself: negatives that are the query.
    """

    def __init__(
        self,
        queries: TextStore,
        passages: TextStore,
        known: tuple[NDArray[np.int64], NDArray[np.int64]],
        *,
        keep_query: bool,
    ) -> None:
        self._known = np.unique(passage_keys(*known))
        self._query_itself = None if keep_query else QueryItself(queries, passages)
        self.judged = self.query_itself = 0
        self._lost, self._kept = np.zeros((2, len(queries)), np.bool_)

    @property
    def emptied(self) -> int:
        """How many queries lost every negative."""
        return int((self._lost & ~self._kept).sum())

    def keep(self, queries: NDArray[np.integer], negatives: NDArray[np.integer]) -> NDArray[np.bool_]:
        """[rows] True where a row's negative may stay."""
        keys = passage_keys(queries, negatives)
        places = np.searchsorted(self._known, keys)
        judged = np.zeros(len(keys), np.bool_)
        inside = places < len(self._known)
        judged[inside] = self._known[places[inside]] == keys[inside]
        itself = np.zeros(len(keys), np.bool_)
        if self._query_itself:
            itself = self._query_itself.found(queries, negatives) & ~judged
        self.judged += int(judged.sum())
        self.query_itself += int(itself.sum())
        kept: NDArray[np.bool_] = ~(judged | itself)
        self._kept[queries[kept]] = True
        self._lost[queries[~kept]] = True
        return kept


def too_close(positives: NDArray[np.float32], negatives: NDArray[np.float32], cutoff: float) -> NDArray[np.bool_]:
    """[positives, negatives] True where the negative's score is above the positive's, or at most `cutoff` below it.

    Args:
        positives: the teacher's scores of a query's positives.
        negatives: its scores of the query's negatives.
        cutoff: the smallest margin, in the teacher's own units; below 0, a negative may score a little higher than the
            positive.
    """
    margins = positives.astype(np.float64)[:, None] - negatives.astype(np.float64)[None, :]
    close: NDArray[np.bool_] = margins <= cutoff
    return close
