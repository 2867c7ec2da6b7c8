"""The pre-pass over a corpus: how long it is, where each unit begins, and which docids are repeated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.artifacts import read_sidecar, write_whole
from pyserini_tasb.bars import hidden
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.arrays import Spans
from pyserini_tasb.formats.text_store import FAULTS_SHOWN, RepeatedIdsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.formats.collections import Corpus, Mark


AT_ONCE = 4096
EXAMPLES = 5
VERSION = 1


def plan_corpus(corpus: Corpus, unit_size: int, source: str) -> CorpusPlan:
    """Read all of a corpus once.

    Args:
        corpus: what to read.
        unit_size: passages of each unit.
        source: what it is, for messages.

    Raises:
        TasbError: faulty lines, docids that are there twice, or no passage at all.
    """
    from tqdm.auto import tqdm

    state = corpus.state()  # before it is read: what changes meanwhile is noticed the next time
    passages = iter(tqdm(corpus.marked(), desc="reading the corpus", unit=" passages", disable=hidden(None)))
    repeated = RepeatedDocids()
    marks: list[Mark] = []
    digests: list[str] = []
    examples: list[str] = []
    records = empty = 0
    while batch := list(islice(passages, min(AT_ONCE, unit_size))):
        marks.append(batch[0][0])
        digest, rows = UnitDigest(), 0
        while batch:
            digest.add((docid, text) for _, docid, text in batch)
            repeated.add([docid for _, docid, _ in batch])
            without_text = [mark for mark, _, text in batch if not text]
            examples += [corpus.place(mark) for mark in without_text[: EXAMPLES - len(examples)]]
            empty += len(without_text)
            rows += len(batch)
            batch = list(islice(passages, min(AT_ONCE, unit_size - rows)))
        digests.append(digest.hexdigest())
        records += rows
    if not records:
        raise TasbError(where=source, expected="a corpus", found="no passages in it", do="check how it was written")
    repeated.require_none(corpus, source)
    return CorpusPlan(state, unit_size, records, marks, digests, empty, examples)


@dataclass(frozen=True)
class CorpusPlan:
    """A corpus cut into units of so many passages, in its order.

    Args:
        state: the state of the corpus's files when it was read.
        unit_size: passages of each unit but the last.
        records: passages.
        marks: where each unit begins.
        digests: a digest of each unit's docids and texts.
        empty: passages without text.
        empty_examples: where the first of them are.
    """

    state: list[list[str | int]]
    unit_size: int
    records: int
    marks: list[Mark]
    digests: list[str]
    empty: int
    empty_examples: list[str]

    @property
    def fingerprint(self) -> str:
        """Changes when a docid or a text does, or their order."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Keep it in a file.

        Raises:
            TasbError: it cannot be written.
        """
        write_whole(path, json.dumps({"version": VERSION, **asdict(self)}) + "\n")


def kept_plan(path: Path, corpus: Corpus, unit_size: int) -> CorpusPlan | None:
    """The plan kept at `path`, if it is of this corpus and unit size and no file has changed since."""
    content = read_sidecar(path)
    if (content.pop("version", None), content.get("unit_size")) != (VERSION, unit_size):
        return None
    if content.get("state") != corpus.state():
        return None
    return CorpusPlan(**{**content, "marks": [tuple(mark) for mark in content["marks"]]})


class UnitDigest:
    """A digest of passages, which a worker compares with that of the pre-pass."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, passages: Iterable[tuple[str, str]]) -> None:
        """Take in docids and texts."""
        # With the length: no two lists of passages are one string.
        self._digest.update("".join(f"{docid}\t{len(text)}\t{text}" for docid, text in passages).encode())

    def hexdigest(self) -> str:
        """The digest of all that were added, in hexadecimal."""
        return self._digest.hexdigest()


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
            corpus: the corpus that has these docids.
            source: its name, for messages.

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
