"""The pre-pass over a corpus: how long it is, where each unit begins, and which docids are repeated."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import deque
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.artifacts import read_sidecar, write_whole
from pyserini_tasb.bars import hidden
from pyserini_tasb.environment.processor import cores, threads
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.arrays import Spans
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.formats.text_store import FAULTS_SHOWN, RepeatedIdsError
from pyserini_tasb.workers import Child, stop_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.formats.collections import Mark


AT_ONCE = 4096
EXAMPLES = 5
VERSION = 1


def plan_corpus(corpus: Corpus, unit_size: int, source: str) -> CorpusPlan:
    """Read all of a corpus once, a large one by several processes.

    Args:
        corpus: what to read.
        unit_size: passages of each unit.
        source: what it is, for messages.

    Raises:
        TasbError: faulty lines, docids that are there twice, or no passage at all.
    """
    state = corpus.state()  # before it is read: what changes meanwhile is noticed the next time
    units = _read_by_processes(corpus, unit_size, _readers(state)) or list(_read_in_turn(corpus, unit_size))
    if not units:
        raise TasbError(where=source, expected="a corpus", found="no passages in it", do="check how it was written")
    plan = CorpusPlan(
        state,
        unit_size,
        records=sum(len(unit.hashes) for unit in units),
        marks=[unit.mark for unit in units],
        digests=[unit.digest for unit in units],
        empty=sum(unit.empty for unit in units),
        empty_examples=[corpus.place(mark) for unit in units for mark in unit.empty_examples][:EXAMPLES],
    )
    repeated = RepeatedDocids()
    while units:
        repeated.add_hashes(units.pop().hashes)
    repeated.require_none(corpus, source)
    return plan


@dataclass(frozen=True)
class _UnitRead:
    """The things that a unit is read for.

    Args:
        mark: where it begins.
        digest: a digest of its docids and texts.
        hashes: [passages], of the docids.
        empty: passages without text.
        empty_examples: the marks of the first of them.
    """

    mark: Mark
    digest: str
    hashes: NDArray[np.uint64]
    empty: int
    empty_examples: list[Mark]


def _read_in_turn(corpus: Corpus, unit_size: int) -> Iterator[_UnitRead]:
    with _bar() as bar:
        passages = corpus.marked()
        while unit := _read_unit(passages, unit_size):
            bar.update(len(unit.hashes))
            yield unit


def _read_unit(passages: Iterator[tuple[Mark, str, str]], unit_size: int) -> _UnitRead | None:
    """The next unit; None at the end of the corpus."""
    marks: list[Mark] = []
    digest, hashes, without_text, rows = UnitDigest(), [], [], 0
    while batch := list(islice(passages, min(AT_ONCE, unit_size - rows))):
        marks.append(batch[0][0])
        digest.add((docid, text) for _, docid, text in batch)
        hashes.append(_hashes([docid for _, docid, _ in batch]))
        without_text += [mark for mark, _, text in batch if not text]
        rows += len(batch)
    if not rows:
        return None
    return _UnitRead(marks[0], digest.hexdigest(), np.concatenate(hashes), len(without_text), without_text[:EXAMPLES])


# Below, starting processes takes longer than reading.
BYTES_FOR_PROCESSES = 200_000_000
MOST_PROCESSES = 16  # the disk is as fast then
UNITS_AT_ONCE = 4
SECONDS_TO_STOP = 0.5  # they only read, so nothing is lost if one is killed


def _readers(state: list[list[str | int]]) -> int:
    """The processes to read a corpus with."""
    size = sum(number for _, number, *_ in state if isinstance(number, int))
    if size < BYTES_FOR_PROCESSES:
        return 1
    # torchrun sets OMP_NUM_THREADS to 1. The other ranks wait until the first has read the corpus.
    return min(MOST_PROCESSES, cores() if "TORCHELASTIC_RUN_ID" in os.environ else threads())


def _read_by_processes(corpus: Corpus, unit_size: int, processes: int) -> list[_UnitRead]:
    """All units; none if only reading one passage after the other tells where units begin, or what is wrong."""
    if processes < 2:
        return []
    readers: deque[Child] = deque()
    units: list[_UnitRead] = []
    with contextlib.suppress(TasbError), _bar() as bar:
        orders = _orders(corpus.unit_starts(unit_size))
        try:
            for order in islice(orders, processes):
                readers.append(Child(_read_units, "a process that reads the corpus"))
                readers[-1].send((corpus.paths, corpus.fields, unit_size))
                readers[-1].send(order)
            while readers:
                found: list[_UnitRead] = readers[0].receive()
                if not found:
                    return []
                units += found
                bar.update(sum(len(unit.hashes) for unit in found))
                if order := next(orders, []):
                    readers[0].send(order)
                    readers.rotate(-1)
                else:
                    readers.popleft().stop(SECONDS_TO_STOP)
            return units
        finally:
            stop_all(readers, SECONDS_TO_STOP)
    return []


def _orders(starts: Iterator[Mark]) -> Iterator[list[Mark | None]]:
    """Where some units begin, and where the one after them does; None for the end of the corpus."""
    first = next(starts, None)
    while first:
        following = list(islice(starts, UNITS_AT_ONCE))
        at_end = len(following) < UNITS_AT_ONCE
        yield [first, *following, *([None] if at_end else [])]
        first = None if at_end else following[-1]


def _read_units(connection: Connection) -> None:
    """The process: reads the units between the marks that it gets; answers none if the corpus is not as they say."""
    paths, fields, unit_size = connection.recv()
    corpus = Corpus(paths, fields)
    while True:
        starts: list[Mark | None] = connection.recv()
        passages = corpus.marked(starts[0])
        units = [_read_unit(passages, unit_size) for _ in starts[1:]]
        # A faulty line is passed over, so that what follows begins later than lines alone say.
        after = next((mark for mark, _, _ in passages), None)
        found = [*(unit.mark if unit else None for unit in units), after]
        connection.send(units if found == starts else [])


def _bar() -> Any:
    from tqdm.auto import tqdm

    return tqdm(desc="reading the corpus", unit=" passages", disable=hidden(None))


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
        self.add_hashes(_hashes(docids))

    def add_hashes(self, hashes: NDArray[np.uint64]) -> None:
        """Note docids by their hashes."""
        self._chunks.append(hashes)

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
