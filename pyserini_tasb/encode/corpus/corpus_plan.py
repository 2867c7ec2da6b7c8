"""What the pre-pass over a corpus found: how long it is, where each unit begins, and what each unit holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.encode.corpus.repeated_docids import RepeatedDocids
from pyserini_tasb.errors import TasbError
from pyserini_tasb.sidecar import read_sidecar
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pyserini_tasb.encode.corpus.corpus import Corpus
    from pyserini_tasb.texts.collections import Mark

EXAMPLES = 5
AT_ONCE = 4096
VERSION = 1


@dataclass(frozen=True)
class CorpusPlan:
    """A corpus cut into units of so many passages, in its order.

    Args:
        state: of the corpus's files when it was read.
        unit_size: passages of each unit but the last.
        records: passages.
        marks: where each unit begins.
        digests: of each unit's docids and texts.
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


def plan_corpus(corpus: Corpus, unit_size: int, source: str) -> CorpusPlan:
    """Read all of a corpus once.

    Args:
        corpus: what to read.
        unit_size: passages of each unit.
        source: what it is, for messages.

    Raises:
        TasbError: faulty lines, docids that are there twice, or no passage at all.
    """
    state = corpus.state()  # before it is read: what changes meanwhile is noticed the next time
    passages = iter(tqdm(corpus.marked(), desc="reading the corpus", unit=" passages", disable=None))
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
        raise TasbError(where=source, expected="a corpus", found="no passage in it", do="check how it was written")
    repeated.require_none(corpus, source)
    return CorpusPlan(state, unit_size, records, marks, digests, empty, examples)


class UnitDigest:
    """A digest of passages, which a worker compares with that of the pre-pass."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, passages: Iterable[tuple[str, str]]) -> None:
        """Take in docids and texts."""
        # With the length: no two lists of passages are one string.
        self._digest.update("".join(f"{docid}\t{len(text)}\t{text}" for docid, text in passages).encode())

    def hexdigest(self) -> str:
        """Of all that were added."""
        return self._digest.hexdigest()
